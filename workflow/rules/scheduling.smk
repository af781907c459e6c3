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


onstart:
    calm(workflow)
    if told := expected(logger.info):
        logger.info(told.before())
        logger.addHandler(told)


if workflow.is_main_process:
    atexit.register(say_how_long)
