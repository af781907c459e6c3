# MLflow: what a workflow made is logged when it ends, well or not; `snakemake track` logs what is
# missing. A store that is away fails no job.


localrules:
    track,


rule track:
    log:
        layout.log("track"),
    conda:
        "../../environment.yml"
    params:
        command=TRACK,
    message:
        "log to MLflow what is not there yet"
    script:
        "../scripts/track.py"


if CONFIG.tracking.enabled:

    onsuccess:
        log_to_mlflow()

    onerror:
        log_to_mlflow()

    # a call with nothing to be done runs neither
    if workflow.is_main_process:
        atexit.register(log_what_is_left)
