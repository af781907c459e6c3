# Figures: each entry of `figures` in the configuration is one target of its own name.


rule plot:
    input:
        plot_input,
    output:
        pdf="results/figures/{figure}.pdf",
        png=report(
            "results/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}", "file": "picture"},
        ),
        csv=report(
            "results/figures/{figure}.csv",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}", "file": "numbers"},
        ),
        md="results/figures/{figure}.md",
        record="results/figures/{figure}.json",
    log:
        "results/logs/figures/{figure}.log",
    benchmark:
        "results/benchmarks/figures/{figure}.tsv"
    conda:
        "../../environment.yml"
    params:
        recipe=plot_recipe,
    message:
        "plot {wildcards.figure}"
    script:
        "../scripts/plot.py"


for name in CONFIG.figures:

    rule:
        name:
            name
        input:
            expand(
                "results/figures/{figure}.{kind}",
                figure=name,
                kind=KINDS,
            ),
