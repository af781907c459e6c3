"""A closure is wide enough: what runs is in it. And no wider: modules of other subjects are not."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from labelnoise.analyze import summary
from labelnoise.artifacts.store import write_dataset
from labelnoise.config.load import Cell, load
from labelnoise.linearize import images as linear_images
from labelnoise.linearize import two_layer
from labelnoise.simulate.run import simulate_cell
from labelnoise.simulate.settings import Settings
from labelnoise.train.images import digits
from labelnoise.train.run import train
from labelnoise.train.settings import TrainSettings
from labelnoise.workflow import reruns
from labelnoise.workflow.digests import PACKAGE, closure
from labelnoise.workflow.verbs import CHOSEN, verb_of


@contextmanager
def watched() -> Iterator[set[tuple[str, str]]]:
    """The definitions of the package whose code runs, as (module, name)."""
    ran: set[tuple[str, str]] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        code: CodeType = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)):
            name = code.co_qualname.split(".")[0]
            if not name.startswith("<"):
                parts = Path(code.co_filename).relative_to(PACKAGE.parent).with_suffix("").parts
                ran.add((".".join(parts).removesuffix(".__init__"), name))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield ran
    finally:
        sys.setprofile(before)


def cell(kind: str, settings: dict[str, Any]) -> Cell:
    raw = {
        "experiments": {"x": {"verb": kind, "settings": settings, "seeds": 2}},
        "figures": {"figure2": {"experiments": ["x"]}}
        if kind == "simulate"
        else {"figure3": {"experiments": ["x"]}},
    }
    if kind == "train":
        raw["experiments"]["x"]["grid"] = {"tau": [0.0, 0.5]}  # type: ignore[index]
    return load(raw).cells["x"][-1]


SMALL = {"width": 30, "dim": 4, "samples": 20, "steps": 200, "snapshots": 3, "eta": 0.01}
FEW = {"train_images": 10, "test_images": 10, "width": 8, "steps": 4, "snapshots": 3}


def assert_covered(verb: str, of: Cell, ran: set[tuple[str, str]]) -> None:
    reached = closure(verb_of(verb, of.verb).code(of), CHOSEN)
    assert ran
    # which algorithm, engine or row it is decides through the entry points
    beside = {"labelnoise.simulate.algorithms", "labelnoise.config.fields"}
    missed = {
        (module, name)
        for module, name in ran
        if name not in reached.get(module, ()) and module not in beside
    }
    assert missed == set()


@pytest.mark.parametrize("backend", ["compiled", "torch"])
@pytest.mark.parametrize("algorithm", ["sgd", "sam", "gd", "oscillation"])
def test_all_that_a_simulation_runs_is_in_its_closure(
    algorithm: str, backend: str, tmp_path: Path
) -> None:
    of = cell("simulate", {**SMALL, "algorithm": algorithm, "backend": backend, "trace_steps": 9})
    assert isinstance(of.settings, Settings)
    settings, recipe = of.settings, {"code": "", "libraries": {}}
    with watched() as ran:
        runs = simulate_cell(settings, {}, [0, 1])
        write_dataset(runs, tmp_path / "runs.nc", title="", recipe=recipe, inputs={})
    assert_covered("simulate", of, ran)
    with watched() as ran:
        summary.analyze(settings, [runs], lazy_threshold=0.1, alignment_onset=0.3)
    assert_covered("analyze", of, ran)
    if settings.is_linearized:
        with watched() as ran:
            two_layer.linearize(settings, [0])
        assert_covered("linearize", of, ran)


@pytest.mark.parametrize(
    "settings",
    [
        {"network": "mlp", "ntk_drift": True},
        {"network": "wide_resnet", "width": 1, "algorithm": "sam"},
        {"network": "resnet", "batch_size": 5, "augmentation": "crop"},
    ],
    ids=lambda settings: settings["network"],
)
def test_all_that_a_training_runs_is_in_its_closure(settings: dict[str, Any]) -> None:
    of = cell("train", {**FEW, **settings})
    assert isinstance(of.settings, TrainSettings)
    source = digits()
    with watched() as ran:
        train(of.settings, source, [0])
    assert_covered("train", of, ran)
    if of.settings.is_linearized:
        with watched() as ran:
            linear_images.linearize(of.settings, source, [0])
        assert_covered("linearize", of, ran)


OTHERS: dict[str, Callable[[str], bool]] = {
    "simulate": lambda m: m.startswith(("train.", "linearize.", "ntk.", "analyze.", "plot.")),
    "train": lambda m: m.startswith(("simulate.", "linearize.", "analyze.", "plot.")),
    "linearize": lambda m: m.startswith(("analyze.", "plot.")),
    "prune": lambda m: m.startswith(("simulate.", "linearize.", "ntk.", "plot.")),
    "analyze": lambda m: m.startswith(("linearize.", "ntk.", "plot.")),
    "images": lambda m: not m.startswith(("train.", "artifacts.store", "rng")),
    "plot": lambda m: m.startswith(("linearize.", "ntk.", "tracking.", "workflow.")),
}


def test_no_closure_reaches_into_other_subjects() -> None:
    for verb, kinds in reruns.closures().items():
        for name, reached in kinds.items():
            modules = {module.removeprefix("labelnoise.") for module in reached}
            assert not any(
                m.startswith(("tracking", "workflow", "artifacts.verify")) for m in modules
            )
            wrong = set(filter(OTHERS[verb], modules))
            if name == "trainings (ntk_drift)":
                wrong -= {"ntk.kernel", "ntk.jacobian", "ntk.layers"}
            assert wrong == set(), (verb, name)


def test_a_simulation_depends_on_the_engine_and_kernel_that_it_takes() -> None:
    engines = {"": "compiled_engine", "torch": "torch_engine", "cuda": "triton_engine"}
    kernels = {"sgd", "sam", "momentum", "gd", "oscillate", "linear", "linear_gd"}
    for name, reached in reruns.closures()["simulate"].items():
        algorithm, _, backend = name.rstrip(")").partition(" (")
        taken = {e for e in engines.values() if f"labelnoise.simulate.{e}" in reached}
        assert taken == {engines[backend]}
        assert ("labelnoise.simulate.triton_kernel" in reached) == (backend == "cuda")
        found = {
            kernel
            for module in ("compiled", "blocks")
            for kernel in kernels & reached.get(f"labelnoise.simulate.{module}", frozenset())
        }
        wanted = {"oscillation": "oscillate"}.get(algorithm, algorithm)
        assert found == (set() if backend else {wanted})


def test_no_module_that_decides_does_anything_when_it_is_imported() -> None:
    from labelnoise.workflow import digests

    for kinds in reruns.closures().values():
        for reached in kinds.values():
            for module in reached:
                assert not digests._read(module).effects, module
