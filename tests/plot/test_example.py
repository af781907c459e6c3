"""The figure in docs/add-a-figure.md is drawn as the page says."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from labelnoise.config import load as loading
from labelnoise.config.load import load

from .cells import assert_renders, make_cell

PAGE = (Path(__file__).parents[2] / "docs/add-a-figure.md").read_text(encoding="utf-8")


@pytest.fixture
def norms(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The page's module, where the configuration looks for it."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    module = ModuleType("labelnoise.plot.figures.norms")
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(loading, "plot_modules", lambda: ["norms"])
    return module


def test_the_pages_figure_is_drawn(norms: ModuleType) -> None:
    cells = [make_cell([0, 1], grid=["sigma"], sigma=sigma) for sigma in (0.0, 4.0)]
    drawing = norms.draw(cells, norms.Options())
    assert_renders(drawing)
    assert set(drawing.numbers["cell"]) == {"σ = 0", "σ = 4"}
    assert "σ = 4: the mean norm ends at " in drawing.text
    (axes,) = drawing.figure.axes
    assert (axes.get_xlabel(), axes.get_xlim()[1]) == ("step", cells[0].settings["steps"])


def test_the_pages_entry_makes_it_a_target(norms: ModuleType) -> None:
    (entry,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    two = {"verb": "simulate", "grid": {"sigma": [0.0, 4.0]}}
    config = load({"experiments": {"two_phases": two}, **yaml.safe_load(entry)})
    assert config.figures["norms"].drawn_by == "norms"
    assert config.figures["norms"].needs == ("analyze",)
