# The linearised runs that go with the trajectories of a block of seeds.


rule linearize:
    input:
        images_file,
    output:
        data="results/linearize/{experiment}/{cell}/block={block}.nc",
        record="results/linearize/{experiment}/{cell}/block={block}.json",
    log:
        "results/logs/linearize/{experiment}/{cell}/block={block}.log",
    benchmark:
        "results/benchmarks/linearize/{experiment}/{cell}/block={block}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=linearize_gpus,
    params:
        recipe=linearize_recipe,
    message:
        "linearize {wildcards.experiment} {wildcards.cell}, seeds of block {wildcards.block}"
    script:
        "../scripts/linearize.py"
