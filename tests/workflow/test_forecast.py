"""How long a run takes, said before and while it runs."""

import json
import logging
from pathlib import Path

import pytest
import yaml

from labelnoise.config.load import Config, load
from labelnoise.workflow import costs, layout
from labelnoise.workflow.binding import Binding
from labelnoise.workflow.costs import SECONDS, STARTS, Costs, Done
from labelnoise.workflow.forecast import Forecast, in_words, makespan
from labelnoise.workflow.recipes import Recipes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config() -> Config:
    return load(yaml.safe_load((ROOT / "config/config.yaml").read_text()))


def test_a_makespan_is_that_of_the_most_urgent_first() -> None:
    seconds = {"a": 3.0, "b": 2.0, "c": 2.0, "plot": 1.0}
    needs = {"plot": ["b", "c"], "a": ["done before"]}
    plain = dict.fromkeys(seconds, 0.0)
    assert makespan(seconds, needs, plain, 1) == 8
    assert makespan(seconds, needs, plain, 2) == 5  # a beside b and c, then plot
    assert makespan(seconds, needs, plain | {"b": 1, "c": 1}, 2) == 5  # b and c, plot beside a
    assert makespan(seconds, needs, plain, 9) == 3
    assert makespan({}, {}, {}, 2) == 0


def test_times_are_said_as_exactly_as_they_are_known() -> None:
    assert [in_words(s) for s in (2, 41, 125, 5000, 9000)] == [
        *("5 s", "40 s", "2 min", "83 min", "2.5 h"),
    ]


def test_a_network_twice_as_wide_costs_more_and_so_do_more_steps(config: Config) -> None:
    cell, *_ = config.cells["generalisation"]
    smaller = costs.work("train", cell.settings, 2)
    for change, factor in (({"steps": 2000}, 1.5), ({"width": 16}, 2)):
        larger = cell.settings.model_copy(update=change)
        assert costs.work("train", larger, 2) > factor * smaller
    assert costs.work("train", cell.settings, 4) == 2 * smaller


def test_seconds_are_learnt_from_what_was_done_here(config: Config) -> None:
    cell = config.cells["phase_sgd"][0]
    work = costs.work("simulate", cell.settings, 2, 20)
    slow = [Done("plot", 0.0, 6.0, 3.0)] * 6  # starts take twice as long as in the table
    start = 2 * STARTS[""]
    done = [*slow, Done("simulate sgd", work, start + 100.0, STARTS[""])]
    assert Costs(done).seconds("simulate", cell, 0) == pytest.approx(start + 100.0)
    # a kind of which there is none takes the table's time, on a machine so slow
    other = config.cells["sam"][1]
    expected = start + 2 * SECONDS["simulate sam"] * costs.work("simulate", other.settings, 4)
    assert Costs(done).seconds("simulate", other, 0) == pytest.approx(expected)


def test_jobs_done_here_are_read_and_what_cannot_be_is_passed_over(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipes = Recipes(config, ROOT / "workflow/scripts")
    cell = config.cells["phase_sgd"][3]
    stem = layout.block("simulate", cell.experiment, cell.path, 0)
    benchmark = Path(layout.benchmark(stem))
    for path in (Path(stem), benchmark):
        path.parent.mkdir(parents=True)
    record = {"recipe": json.loads(recipes.job("simulate", cell, 0))}
    Path(f"{stem}.json").write_text(json.dumps(record))
    Path(stem).with_name("block=1.json").write_text("{")
    benchmark.write_text("s\th:m:s\n12.5\t0:00:12\n")
    benchmark.with_name("block=1.tsv").write_text("s\n3\n")
    work = costs.work("simulate", cell.settings, 2, 20)
    assert costs.done_here() == [Done("simulate sgd", work, 12.5, STARTS[""])]


def test_figures_come_one_after_another_the_quick_ones_first(config: Config) -> None:
    binding = Binding(config, Recipes(config, ROOT / "workflow/scripts"))
    order = binding.order
    assert sorted(order) == sorted(config.figures)
    # two networks trained, and eight million steps, take longer than 60,000 steps
    assert order.index("figure6") < order.index("phase_diagram") < order.index("figure5")

    class Wildcards:
        def __init__(self, experiment: str) -> None:
            self.experiment = experiment

    first = binding.priority("simulate")(Wildcards("alternating"))
    assert binding.priority("analyze")(Wildcards("alternating")) > first
    assert first > binding.priority("simulate")(Wildcards("phase_sgd"))
    assert binding.priority("simulate")(Wildcards("phase_sgd")) > binding.priority("train")(
        Wildcards("few_images_mlp_sam")
    )
    # one that two figures read is as urgent as for the first of them
    early = min(order.index("figure2"), order.index("table1"))
    assert binding.priority("simulate")(Wildcards("two_phases")) == 3 * (len(order) - early)


def event(kind: str, **more: object) -> logging.LogRecord:
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, "", (), None)
    record.__dict__.update(event=kind, **more)
    return record


def test_what_is_left_follows_how_long_jobs_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("labelnoise.workflow.forecast.time.monotonic", lambda: now)
    said: list[str] = []
    jobs = range(1, 11)
    forecast = Forecast(
        seconds=dict.fromkeys(jobs, 60.0),
        needs={},
        urgency=dict.fromkeys(jobs, 0.0),
        workers=2,
        figures={2: "figure2: results/figures/figure2.pdf"},
        say=said.append,
    )
    assert forecast.before() == "10 jobs, 2 at a time: about 5 min"
    for first in (1, 3, 5, 7):  # each takes twice as long as was thought
        forecast.emit(event("job_started", jobs=[first, first + 1]))
        now += 120
        for job in (first, first + 1):
            forecast.emit(event("job_finished", job_id=job))
    assert said[1] == "figure2: results/figures/figure2.pdf"
    assert forecast.remaining() == pytest.approx(120, rel=0.1)
    assert said[-1] == "about 2 min left"
