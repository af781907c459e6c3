# What happens when a workflow ends, well or not: what it made is logged to MLflow.

TRACK = [sys.executable, "-m", "labelnoise", "track"]
if CONFIG.tracking.uri:
    # not an argument: it may hold a password, and every user can list the arguments of processes
    os.environ.setdefault("MLFLOW_TRACKING_URI", CONFIG.tracking.uri)


def log_to_mlflow():
    """Log what the workflow made; a tracking store that is away fails nothing."""
    results = Path(layout.RESULTS)
    asked = any(job.rule.name == "track" for job in workflow.dag.needrun_jobs())
    if not asked and not all_logged(results, store_uri(results, CONFIG.tracking.uri)):
        subprocess.run(TRACK, check=False)


def log_what_is_left():
    """Log what an earlier, killed call made, where this one had nothing to do.

    Only a call that got to the point of running jobs: not a dry run, --lint, --unlock, a report.
    """
    idle = workflow.scheduler is not None and len(workflow.dag) == 0
    hooks = idle and not workflow.execution_settings.no_hooks
    if hooks and not workflow.dryrun and not workflow.touch:
        log_to_mlflow()
