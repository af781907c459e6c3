"""Saving a figure: a layout whose last bits differ gives the same files."""

import os
import subprocess
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from labelnoise.plot.parts.style import (
    CellData,
    Drawing,
    apply_style,
    save,
    settle,
    step_axis,
    typeset,
)
from labelnoise.simulate.settings import Settings


def drawn(*, nested):
    apply_style()
    figure = plt.figure(figsize=(4, 3), layout="constrained")
    parts = figure.subfigures(2, 1) if nested else [figure]
    for part in parts:
        for axes in part.subplots(1, 2):
            axes.step(np.arange(60), np.sin(np.arange(60)))
            axes.set(xlabel="step", ylabel="$a_i$")
    return figure


def nudge(figure):
    """What another run's solver would find: the same layout but for the last bits."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in figure.subfigs:
        part.bbox_relative.p0 = part.bbox_relative.p0 * (1 + 4e-16)
    for axes in figure.axes:
        bounds = np.array(axes.get_position(original=True).bounds)
        axes.set_position(bounds * (1 + np.array([4e-16, -4e-16, 4e-16, -4e-16])))


@pytest.mark.parametrize("nested", [False, True])
def test_the_last_bits_of_a_layout_do_not_show(nested, tmp_path):
    kinds = ("pdf", "png", "csv", "md")
    for name in ("one", "two"):
        figure = drawn(nested=nested)
        if name == "two":
            nudge(figure)
        paths = [tmp_path / f"{name}.{kind}" for kind in kinds]
        save(Drawing(figure, pd.DataFrame({"value": [1.0]}), "text"), *paths)
    for kind in kinds:
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


def test_settling_moves_nothing_that_could_be_seen():
    figure, settled = drawn(nested=True), drawn(nested=True)
    figure.draw_without_rendering()
    settle(settled)
    for one, other in zip(figure.axes, settled.axes, strict=True):
        before, after = (a.get_window_extent().get_points() for a in (one, other))
        np.testing.assert_allclose(before, after, atol=1e-3)  # pixels


def test_the_learning_rate_of_a_cell_is_in_units_of_one():
    for unit, rate in (("1", 0.5), ("1/m", 0.005)):
        settings = Settings(eta=0.5, eta_unit=unit, width=100).model_dump(mode="json")
        assert CellData("any", {}, {}, settings).learning_rate == rate


def test_nothing_of_a_users_settings_reaches_a_file(tmp_path):
    hostile = {
        "savefig.bbox": "tight",
        "savefig.pad_inches": 1.0,
        "savefig.transparent": True,
        "savefig.facecolor": "red",
        "pdf.compression": 0,
        "axes.grid": True,
        "axes.unicode_minus": False,
        "axes.formatter.use_locale": True,
        "axes.formatter.limits": [-1, 1],
        "axes.xmargin": 0.3,
        "lines.linestyle": ":",
        "lines.antialiased": False,
        "figure.facecolor": "yellow",
        "font.family": ["monospace"],
        "mathtext.fontset": "cm",
        "xtick.minor.visible": True,
        "path.simplify_threshold": 0.9,
        "agg.path.chunksize": 10,
    }
    kinds = ("pdf", "png", "csv", "md")

    def files(name):
        paths = [tmp_path / f"{name}.{kind}" for kind in kinds]
        save(Drawing(figure, pd.DataFrame({"value": [1.0]}), "text"), *paths)
        return [path.read_bytes() for path in paths]

    with mpl.rc_context():
        mpl.rcdefaults()
        figure = drawn(nested=False)
        wanted = files("plain")
    with mpl.rc_context(hostile):
        figure = drawn(nested=False)
        assert files("set_before_drawing") == wanted
        figure = drawn(nested=False)
        mpl.rcParams.update(hostile)
        assert files("set_before_saving") == wanted


def test_saving_leaves_a_users_settings_as_they_were(tmp_path):
    with mpl.rc_context():
        figure = drawn(nested=False)
        mpl.rcParams["savefig.bbox"] = "tight"
        paths = [tmp_path / f"x.{kind}" for kind in ("pdf", "png", "csv", "md")]
        save(Drawing(figure, pd.DataFrame({"value": [1.0]}), "text"), *paths)
        assert mpl.rcParams["savefig.bbox"] == "tight"


def test_nothing_of_the_environment_reaches_a_file(tmp_path):
    (tmp_path / "matplotlibrc").write_text("savefig.bbox: tight\naxes.grid: True\nfont.size: 20\n")
    code = """
import sys
from pathlib import Path
import pandas as pd
from labelnoise.plot.parts.style import Drawing, apply_style, save
import matplotlib.pyplot as plt
apply_style()
figure, axes = plt.subplots(layout="constrained")
axes.plot([0, 1], [-1, 2], label="$x_i$")
numbers = pd.DataFrame({"value": [1.5]})
save(Drawing(figure, numbers, chr(963)), *(Path(f"{sys.argv[1]}.{kind}") for kind in sys.argv[2:]))
"""
    kinds = ("pdf", "png", "csv", "md")
    surroundings = {
        "plain": {"LC_ALL": "C.UTF-8"},
        "odd": {
            "MATPLOTLIBRC": str(tmp_path),
            "MPLBACKEND": "pdf",
            "SOURCE_DATE_EPOCH": "86400",
            "LC_ALL": "C",
            "TZ": "Asia/Kathmandu",
            "PYTHONUTF8": "0",
        },
    }
    for name, more in surroundings.items():
        environment = {k: v for k, v in os.environ.items() if k not in surroundings["odd"]} | more
        call = [sys.executable, "-c", code, str(tmp_path / name), *kinds]
        subprocess.run(call, env=environment, check=True)
    for kind in kinds:
        one, other = (tmp_path / f"{name}.{kind}" for name in surroundings)
        assert one.read_bytes() == other.read_bytes(), kind


@pytest.mark.parametrize(
    ("text", "set_"),
    [
        ("σ = 4, η = 0.001", "$σ$ = 4, $η$ = 0.001"),
        ("mean norm ‖w_i‖", "mean norm $‖w_i‖$"),
        ("alignment with θ*", r"alignment with $θ^{\ast}$"),
        ("‖θ*‖ = 2", r"$‖θ^{\ast}‖$ = 2"),
        ("√η", r"$\sqrt{η}$"),
        ("a_0 of one run", "$a_0$ of one run"),
        ("m = 1,000", "$m$ = 1,000"),
        ("runs_m: mean of n", "runs_m: mean of n"),
    ],
)
def test_symbols_are_set_as_mathematics_and_nothing_else_is(text, set_):
    assert typeset(text) == set_


@pytest.mark.parametrize(
    ("last", "parts", "named"),
    [
        (1_000_000, 2, ["0", "500,000", "1,000,000"]),
        (12_000, 6, ["0", "2,000", "4,000", "6,000", "8,000", "10,000", "12,000"]),
        (1500, 2, ["0", "750", "1,500"]),
        (2000, 6, ["0", "400", "800", "1,200", "1,600", "2,000"]),
        (137, 4, ["0", "137"]),
    ],
)
def test_an_axis_of_steps_names_round_steps_and_shows_step_0(last, parts, named):
    axes = plt.figure().subplots()
    step_axis(axes, last, parts)
    axes.figure.canvas.draw()
    assert [label.get_text() for label in axes.get_xticklabels()] == named
    left, right = axes.get_xlim()
    assert left < 0 and right == last
    plt.close(axes.figure)
