# Trained ResNets pruned by merging features and by magnitude, where a figure needs them.

PRUNE = layout.block("prune", *BLOCK)


rule prune:
    input:
        unpack(JOBS.inputs("prune")),
    output:
        data=f"{PRUNE}.nc",
        record=f"{PRUNE}.json",
    log:
        layout.log(PRUNE),
    benchmark:
        layout.benchmark(PRUNE)
    priority: JOBS.priority("prune")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=JOBS.gpus("prune"),
        device=CONFIG.device,
    params:
        recipe=JOBS.recipe("prune"),
    message:
        "prune {wildcards.experiment} {wildcards.cell}, seeds of block {wildcards.block}"
    script:
        "../scripts/prune.py"
