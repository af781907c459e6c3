# Figures: each entry of `figures` in the configuration is one target of its own name.

FIGURE = layout.figure("{figure}")


rule plot:
    input:
        JOBS.figure_inputs,
    output:
        pdf=f"{FIGURE}.pdf",
        png=report(
            f"{FIGURE}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}", "file": "picture"},
        ),
        csv=report(
            f"{FIGURE}.csv",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}", "file": "numbers"},
        ),
        md=f"{FIGURE}.md",
        record=f"{FIGURE}.json",
    log:
        layout.log(FIGURE),
    benchmark:
        layout.benchmark(FIGURE)
    priority: JOBS.figure_priority
    conda:
        "../../environment.yml"
    params:
        recipe=JOBS.figure_recipe,
    message:
        "plot {wildcards.figure}"
    script:
        "../scripts/plot.py"


for name in CONFIG.figures:

    rule:
        name:
            name
        input:
            layout.figure_files(name),
            RECIPES.lost(name),
