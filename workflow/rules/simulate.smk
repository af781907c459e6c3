# Trajectories of a block of seeds of one cell of a grid.


rule simulate:
    output:
        data="results/simulate/{experiment}/{cell}/block={block}.nc",
        record="results/simulate/{experiment}/{cell}/block={block}.json",
    log:
        "results/logs/simulate/{experiment}/{cell}/block={block}.log",
    benchmark:
        "results/benchmarks/simulate/{experiment}/{cell}/block={block}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=gpus,
    params:
        recipe=simulate_recipe,
    message:
        "simulate {wildcards.experiment} {wildcards.cell}, seeds of block {wildcards.block}"
    script:
        "../scripts/simulate.py"
