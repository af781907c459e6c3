# Trajectories of a block of seeds of one cell of a grid.

SIMULATE = layout.block("simulate", *BLOCK)


rule simulate:
    output:
        data=f"{SIMULATE}.nc",
        record=f"{SIMULATE}.json",
    log:
        layout.log(SIMULATE),
    benchmark:
        layout.benchmark(SIMULATE)
    priority: JOBS.priority("simulate")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=JOBS.gpus("simulate"),
        device=CONFIG.device,
    params:
        recipe=JOBS.recipe("simulate"),
    message:
        "simulate {wildcards.experiment} {wildcards.cell}, seeds of block {wildcards.block}"
    script:
        "../scripts/simulate.py"
