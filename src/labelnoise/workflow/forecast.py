"""How long a call of Snakemake will take, said before it starts and while it runs."""

import heapq
import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

Job = TypeVar("Job", bound=Hashable)
Say = Callable[[str], None]

PACE = 30.0
"""Seconds between two lines on the time that is left."""

TRUST = 20.0
"""Seconds of jobs done at which their measured time counts as much as what was thought before."""


def makespan(
    seconds: Mapping[Job, float],
    needs: Mapping[Job, Sequence[Job]],
    urgency: Mapping[Job, float],
    workers: int,
) -> float:
    """Seconds until all jobs are done, where each worker takes the most urgent job that is ready.

    Args:
        seconds: of each job.
        needs: the jobs that each one waits for; those that are not in `seconds` are done.
        urgency: of each job; higher goes first.
        workers: how many jobs run at a time.
    """
    waiting = {job: sum(need in seconds for need in needs.get(job, ())) for job in seconds}
    after: dict[Job, list[Job]] = {}
    for job in seconds:
        for need in needs.get(job, ()):
            after.setdefault(need, []).append(job)
    number = {job: order for order, job in enumerate(seconds)}
    ready = [(-urgency[job], number[job], job) for job in seconds if not waiting[job]]
    heapq.heapify(ready)
    running: list[tuple[float, int, Job]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            _, order, job = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds[job], order, job))
        now, _, job = heapq.heappop(running)
        for later in after.get(job, ()):
            waiting[later] -= 1
            if not waiting[later]:
                heapq.heappush(ready, (-urgency[later], number[later], later))
    return now


def in_words(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`: as exact as an estimate can be."""
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def calm(workflow: Any) -> None:
    """Keep Snakemake's scheduler from looking at all jobs ever more often, the more have ended.

    Snakemake 9.27 starts a timer with every pass of its scheduler, and a pass with every timer and
    every job that ends (docs/upstream/snakemake-scheduler-timers.md). The timers are there for the
    rate at which jobs may start, which a machine's own jobs need no limit for.
    """
    if workflow.local_exec and hasattr(workflow.scheduler, "job_rate_limiter"):
        workflow.scheduler.job_rate_limiter = None


def forecast(
    workflow: Any, seconds: Callable[[Any], float], figure: Callable[[Any], str], say: Say
) -> "Forecast":
    """What a call of Snakemake has to do.

    Args:
        workflow: Snakemake's, its jobs known.
        seconds: of a job.
        figure: what to say of a job when it is done; nothing where it is empty.
        say: says a line.
    """
    dag = workflow.dag
    jobs = {dag.jobid(job): job for job in dag.needrun_jobs(exclude_finished=False)}
    return Forecast(
        {number: seconds(job) for number, job in jobs.items()},
        {n: [dag.jobid(need) for need in dag.dependencies[job]] for n, job in jobs.items()},
        {number: dag.priority(job) for number, job in jobs.items()},
        _workers(workflow),
        {number: line for number, job in jobs.items() if (line := figure(job))},
        say,
    )


def _workers(workflow: Any) -> int:
    """How many jobs run at a time: those that a cluster takes, or as many as there are cores."""
    limits = workflow.global_resources
    return int((limits["_cores"] if workflow.local_exec else limits["_nodes"]).value or 1)


class Forecast(logging.Handler):
    """Follows the jobs by Snakemake's log; says what is left, and each figure when it is made.

    Args:
        seconds: of each job that is to be done, by its number.
        needs: the jobs that each one waits for.
        urgency: of each job.
        workers: how many jobs run at a time.
        figures: what to say of a job when it is done.
        say: says a line.
    """

    def __init__(
        self,
        seconds: Mapping[int, float],
        needs: Mapping[int, Sequence[int]],
        urgency: Mapping[int, float],
        workers: int,
        figures: Mapping[int, str],
        say: Say,
    ) -> None:
        super().__init__()
        self._left = dict(seconds)
        self._needs, self._urgency, self._workers = needs, urgency, workers
        self._figures, self._say = figures, say
        self._started: dict[int, float] = {}
        self._thought = self._took = 0.0
        self._said = time.monotonic()

    def before(self) -> str:
        """The line on the whole, before it starts."""
        jobs = sum(seconds > 0 for seconds in self._left.values())
        return f"{jobs} jobs, {self._workers} at a time: about {in_words(self.remaining())}"

    def remaining(self) -> float:
        """Seconds until all is done, by what the jobs that are done took."""
        slower = (self._took + TRUST) / (self._thought + TRUST)
        now = time.monotonic()
        left = {}
        for job, seconds in self._left.items():
            spent = now - self._started[job] if job in self._started else 0.0
            # one that takes longer than thought is not about to end
            left[job] = max(seconds * slower - spent, 0.1 * spent)
        # what runs goes on
        urgency = dict(self._urgency) | dict.fromkeys(self._started, float("inf"))
        return makespan(left, self._needs, urgency, self._workers)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line of Snakemake's log."""
        event = getattr(record, "event", None)
        kind = str(getattr(event, "value", event))
        if kind == "job_started":
            for job in getattr(record, "jobs", ()):
                self._started[job] = time.monotonic()
        elif kind == "job_finished":
            self._end(getattr(record, "job_id", None))

    def _end(self, job: int | None) -> None:
        if job is None or job not in self._left:
            return
        now = time.monotonic()
        thought = self._left.pop(job)
        started = self._started.pop(job, None)
        if started is not None:
            self._took += now - started
            self._thought += thought
        if job in self._figures:
            self._say(self._figures[job])
        if self._left and now - self._said >= PACE:
            self._said = now
            self._say(f"about {in_words(self.remaining())} left")
