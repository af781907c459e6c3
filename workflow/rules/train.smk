# Networks trained on images: the curves and final weights of a block of seeds of one cell.

TRAIN = layout.block("train", *BLOCK)


rule train:
    input:
        unpack(JOBS.inputs("train")),
    output:
        data=f"{TRAIN}.nc",
        weights=f"{TRAIN}.safetensors",
        record=f"{TRAIN}.json",
    log:
        layout.log(TRAIN),
    benchmark:
        layout.benchmark(TRAIN)
    priority: JOBS.priority("train")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=JOBS.gpus("train"),
        device=CONFIG.device,
        ntk_memory=JOBS.ntk_memory,
    params:
        recipe=JOBS.recipe("train"),
    message:
        "train {wildcards.experiment} {wildcards.cell}, seeds of block {wildcards.block}"
    script:
        "../scripts/train.py"
