# Networks trained on images: the curves and final weights of a block of seeds of one cell.


rule train:
    input:
        images_file,
    output:
        data="results/train/{experiment}/{cell}/block={block}.nc",
        weights="results/train/{experiment}/{cell}/block={block}.safetensors",
        record="results/train/{experiment}/{cell}/block={block}.json",
    log:
        "results/logs/train/{experiment}/{cell}/block={block}.log",
    benchmark:
        "results/benchmarks/train/{experiment}/{cell}/block={block}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=gpus,
    params:
        recipe=train_recipe,
    message:
        "train {wildcards.experiment} {wildcards.cell}, seeds of block {wildcards.block}"
    script:
        "../scripts/train.py"
