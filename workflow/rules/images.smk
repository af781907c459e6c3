# Images to train on, one file a source; the official CIFAR-10 archive, where none is given.


rule download:
    output:
        archive=CIFAR10_ARCHIVE,
        record=f"{CIFAR10_ARCHIVE}.json",
    log:
        "results/logs/downloads/cifar-10-python.log",
    benchmark:
        "results/benchmarks/downloads/cifar-10-python.tsv"
    # where the workflow was started: a cluster's nodes may have no way out
    localrule: True
    conda:
        "../../environment.yml"
    params:
        recipe=DOWNLOAD_RECIPE,
    message:
        "download CIFAR-10"
    script:
        "../scripts/download.py"


rule images:
    input:
        images_input,
    output:
        data="results/images/{source}.nc",
        record="results/images/{source}.json",
    log:
        "results/logs/images/{source}.log",
    benchmark:
        "results/benchmarks/images/{source}.tsv"
    conda:
        "../../environment.yml"
    params:
        recipe=images_recipe,
    message:
        "images {wildcards.source}"
    script:
        "../scripts/images.py"
