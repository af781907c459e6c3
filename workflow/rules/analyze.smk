# Curves, phases and headline numbers of a cell, over all its seeds.


rule analyze:
    input:
        analyze_input,
    output:
        data="results/analyze/{experiment}/{cell}.nc",
        record="results/analyze/{experiment}/{cell}.json",
    log:
        "results/logs/analyze/{experiment}/{cell}.log",
    benchmark:
        "results/benchmarks/analyze/{experiment}/{cell}.tsv"
    conda:
        "../../environment.yml"
    params:
        recipe=analyze_recipe,
    message:
        "analyze {wildcards.experiment} {wildcards.cell}"
    script:
        "../scripts/analyze.py"
