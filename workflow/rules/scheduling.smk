# What is done and said when the first job is about to start: how long it will take, and how much of
# it is left, and each figure when it is made.


def expected(say):
    """What this call has to do, and how long that takes."""
    costs = costs_here()
    return forecast(workflow, lambda job: JOBS.seconds(costs, job), JOBS.made, say)


def say_how_long():
    """After a dry run, one more line."""
    if workflow.dryrun and not workflow.output_settings.quiet and len(workflow.dag):
        if told := expected(print):
            print(told.before(), file=sys.stderr)


def no_gpu():
    """The first job that asks for a GPU where this machine has none; None: there is no such job."""
    asking = (job for job in workflow.dag.needrun_jobs() if job.resources.get("gpu"))
    return None if gpu_found() else next(asking, None)


onstart:
    if workflow.local_exec and (job := no_gpu()):
        raise WorkflowError(
            f"{job.rule.name} {job.wildcards} asks for a GPU, and this machine has none (there is no "
            "nvidia-smi); set device: auto, and backend: compiled where it is cuda"
        )
    calm(workflow)
    if told := expected(logger.info):
        logger.info(told.before())
        logger.addHandler(told)


if workflow.is_main_process:
    atexit.register(say_how_long)
