# Trained ResNets pruned by merging features and by magnitude, where a figure needs them.


rule prune:
    input:
        images=images_file,
        weights="results/train/{experiment}/{cell}/block={block}.safetensors",
    output:
        data="results/prune/{experiment}/{cell}/block={block}.nc",
        record="results/prune/{experiment}/{cell}/block={block}.json",
    log:
        "results/logs/prune/{experiment}/{cell}/block={block}.log",
    benchmark:
        "results/benchmarks/prune/{experiment}/{cell}/block={block}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=gpus,
    params:
        recipe=prune_recipe,
    message:
        "prune {wildcards.experiment} {wildcards.cell}, seeds of block {wildcards.block}"
    script:
        "../scripts/prune.py"
