# Curves, phases and headline numbers of a cell, over all its seeds.

ANALYZE = layout.analysis("{experiment}", "{cell}")


rule analyze:
    input:
        unpack(JOBS.inputs("analyze")),
    output:
        data=f"{ANALYZE}.nc",
        record=f"{ANALYZE}.json",
    log:
        layout.log(ANALYZE),
    benchmark:
        layout.benchmark(ANALYZE)
    priority: JOBS.priority("analyze")
    conda:
        "../../environment.yml"
    params:
        recipe=JOBS.recipe("analyze"),
    message:
        "analyze {wildcards.experiment} {wildcards.cell}"
    script:
        "../scripts/analyze.py"
