# What is done and said when the first job is about to start: how long it will take, and how much of
# it is left, and each figure when it is made.


def expected():
    """What this call has to do, and how long that takes."""
    costs = Costs(done_here(), slowness())
    return forecast(
        workflow, lambda job: JOBS.seconds(costs, job), JOBS.made, logger.info
    )


def say_how_long():
    """After a dry run, one more line."""
    if workflow.dryrun and not workflow.output_settings.quiet and len(workflow.dag):
        print(expected().before(), file=sys.stderr)


onstart:
    calm(workflow)
    follower = expected()
    logger.info(follower.before())
    logger.addHandler(follower)


if workflow.is_main_process:
    atexit.register(say_how_long)
