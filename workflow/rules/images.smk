# Images to train on, one file a source; the official CIFAR-10 archive, where none is given.


rule download:
    output:
        archive=layout.CIFAR10_ARCHIVE,
        record=f"{layout.CIFAR10_ARCHIVE}.json",
    log:
        layout.log(layout.ARCHIVE),
    benchmark:
        layout.benchmark(layout.ARCHIVE)
    priority: JOBS.images_priority
    # where the workflow was started: a cluster's nodes may have no way out
    localrule: True
    conda:
        "../../environment.yml"
    params:
        recipe=RECIPES.download(),
    message:
        "download CIFAR-10"
    script:
        "../scripts/download.py"


rule images:
    input:
        JOBS.images_inputs,
    output:
        data=f"{layout.images('{source}')}.nc",
        record=f"{layout.images('{source}')}.json",
    log:
        layout.log(layout.images("{source}")),
    benchmark:
        layout.benchmark(layout.images("{source}"))
    priority: JOBS.images_priority
    conda:
        "../../environment.yml"
    params:
        recipe=JOBS.images_recipe,
    message:
        "images {wildcards.source}"
    script:
        "../scripts/images.py"
