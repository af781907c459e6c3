# What is said and done when a workflow's first job is about to start.


onstart:
    # Snakemake 9.27 starts a timer with every pass of its scheduler, and one more with every job that
    # ends: docs/upstream/snakemake-scheduler-timers.md. A machine's own jobs need no rate limit.
    if workflow.local_exec and hasattr(workflow.scheduler, "job_rate_limiter"):
        workflow.scheduler.job_rate_limiter = None
