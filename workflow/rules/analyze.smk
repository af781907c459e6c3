# Curves, phases and headline numbers of a cell, over all its seeds.

ANALYZE = layout.analysis("{experiment}", "{cell}")


rule analyze:
    input:
        unpack(inputs_of("analyze")),
    output:
        data=f"{ANALYZE}.nc",
        record=f"{ANALYZE}.json",
    log:
        layout.log(ANALYZE),
    benchmark:
        layout.benchmark(ANALYZE)
    conda:
        "../../environment.yml"
    params:
        recipe=recipe_of("analyze"),
    message:
        "analyze {wildcards.experiment} {wildcards.cell}"
    script:
        "../scripts/analyze.py"
