# The linearised runs that go with the trajectories of a block of seeds.

LINEARIZE = layout.block("linearize", *BLOCK)


rule linearize:
    input:
        unpack(JOBS.inputs("linearize")),
    output:
        data=f"{LINEARIZE}.nc",
        record=f"{LINEARIZE}.json",
    log:
        layout.log(LINEARIZE),
    benchmark:
        layout.benchmark(LINEARIZE)
    priority: JOBS.priority("linearize")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=JOBS.gpus("linearize"),
        device=CONFIG.device,
        ntk_memory=JOBS.ntk_memory,
    params:
        recipe=JOBS.recipe("linearize"),
    message:
        "linearize {wildcards.experiment} {wildcards.cell}, seeds of block {wildcards.block}"
    script:
        "../scripts/linearize.py"
