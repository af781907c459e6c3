"""Table 1: its rows come from the runs they name, and say what is missing."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from labelnoise.plot.figures.table1 import COLUMNS, Options, _typeset, draw
from labelnoise.plot.parts.style import CellData
from labelnoise.train.settings import TrainSettings

from .cells import SMALL, assert_renders, make_cell

SCALED = {"sigma": (2.0, 4.0, 8.0), "eta": (0.002, 0.004, 0.008), "width": (20, 30, 45)}


def everything(unit: float | None = None) -> list[CellData]:
    """All cells of the table; with η of the SGD runs in units of 1/m where there is a unit m."""

    def written(eta: float) -> dict[str, object]:
        return {"eta": eta} if unit is None else {"eta": eta * unit, "eta_unit": "1/m"}

    eta = float(SMALL["eta"])
    cells = [
        make_cell(
            *([0, 1],),
            **{"experiment": "two_phases", "grid": ["sigma"], "sigma": sigma, "trace_steps": 20},
            **written(eta),
        )
        for sigma in (0.0, 4.0)
    ]
    for name, values in SCALED.items():
        for value in values:
            own = {"eta": eta} if name == "width" else written(value if name == "eta" else eta)
            given = own | ({name: value} if name != "eta" else {})
            cells.append(make_cell([0, 1], experiment=f"scaling_{name}", grid=[name], **given))
    chain = {"algorithm": "oscillation", "sigma": 0.0, "grid": ["theta_star_norm"]}
    cells += [
        make_cell([0, 1], experiment="oscillation_norms", theta_star_norm=norm, **chain)
        for norm in (1.0, 2.0)
    ]
    for name, start in (("phase_two", "small"), ("phase_two_aligned", "aligned")):
        descent = {"algorithm": "gd", "sigma": 0.0, "initialisation": start, "grid": ["eta"]}
        cells += [
            make_cell([0, 1], experiment=name, eta=eta, **descent) for eta in (0.01, 0.02, 0.04)
        ]
    aperiodic = [[0.5, 0.5, 0.0], [0.25, 0.5, 0.25], [0.0, 0.5, 0.5]]
    lone = {"algorithm": "oscillation", "sigma": 0.0, "transition": aperiodic}
    cells.append(make_cell([0, 1], experiment="oscillation_aperiodic", **lone))
    for name, varied, values in (("sam", "rho", (0.0, 0.2)), ("sam_noise", "sigma", (1.0, 4.0))):
        given = {"algorithm": "sam", "sigma": 0.0, "rho": 0.2, "grid": [varied], "experiment": name}
        cells += [make_cell([0, 1], **given | {varied: value}) for value in values]
    return [*cells, *on_images()]


def on_images() -> list[CellData]:
    """Analyses of trainings as they would be: τ = 0.5 lowers every seed's loss, ρ only one's."""

    def cell(experiment, by, level, losses, **settings):
        both = ("seed", "step")
        data = xr.Dataset(
            {
                "test_loss": (both, np.array([[1.0, x] for x in losses])),
                "test_accuracy": (both, np.array([[0.1, 1 - x] for x in losses])),
                "norm_change_mean": (both, np.array([[0.0, x - 1] for x in losses])),
                "distance": (both, np.array([[0.0, 1 - x] for x in losses])),
                "diverged_step": ("seed", np.full(2, np.nan)),
            },
            coords={"seed": [0, 1], "step": [0, 10]},
        )
        chosen = TrainSettings(**{by: level}, **settings).model_dump(mode="json")
        return CellData(experiment, {by: level}, {}, chosen, analyze=[data])

    sam = {"algorithm": "sam"}
    return [
        cell("few", "tau", 0.0, [0.5, 0.6]),
        cell("few", "tau", 0.5, [0.4, 0.5]),
        cell("few_sam", "rho", 0.0, [0.5, 0.6], **sam),
        cell("few_sam", "rho", 0.1, [0.4, 0.7], **sam),
        cell("flipped", "tau", 0.0, [0.5, 0.6], loss="cross_entropy", noise="flip"),
        cell("flipped", "tau", 0.2, [0.6, 0.7], loss="cross_entropy", noise="flip"),
    ]


CELLS = everything()


@pytest.fixture(scope="module")
def drawing():
    return draw(CELLS, Options())


def test_every_claim_has_a_verdict(drawing):
    numbers = drawing.numbers
    for claim in (
        "Definition 4.1",
        "Lemma 4.3",
        "Theorem 4.2",
        "Lemma 4.4",
        "Phase II",
        "Lemma 4.5, any neuron",
        "Lemma 4.5, the mean",
        "Lemma 4.6, from an aligned start",
        "Appendix B.1",
        "Appendix B.2",
        "Lemma B.6",
        "Figure 1, flipped labels",
        "Figure 3, mlp",
        "Figure 4, with label noise",
        "Figure 5, mlp",
    ):
        assert numbers["claim"].str.contains(claim).any(), claim
    verdicts = {"holds", "holds in part", "not reached", "does not hold"}
    assert set(numbers["verdict"]) <= verdicts
    counted = sum(v for k, v in drawing.metrics.items() if k.startswith("claims_"))
    assert counted == drawing.metrics["claims"] == len(numbers)


def test_its_numbers_are_those_of_the_runs(drawing):
    quiet, noisy = CELLS[0].analysis, CELLS[1].analysis
    row = drawing.numbers.set_index("claim")
    largest = float(quiet["displacement_max"].max())
    assert f"displacement_max={largest:.6g}" in row.loc["Definition 4.1", "values"]
    escape = float(noisy["escape_step"].mean())
    assert f"escape_step={escape:.6g}" in row.loc["Theorem 4.2", "values"]
    assert row.loc["Figure 3, mlp", "verdict"] == "holds"
    assert row.loc["Figure 5, mlp", "verdict"] == "does not hold"
    assert row.loc["Figure 1, flipped labels", "verdict"] == "does not hold"
    assert row.loc["Theorem 4.2", "conditions"].startswith("η/η_max = 0.12; d/m = 0.17; n/d = 4;")


def test_a_grid_along_a_dimension_gives_the_same_row(drawing):
    """scaling_sigma as one cell with a dimension, as the configuration has it."""
    scaled = [cell for cell in CELLS if cell.experiment == "scaling_sigma"]
    along = xr.concat([c.analysis for c in scaled], xr.Variable("sigma", list(SCALED["sigma"])))
    one = CellData(
        "scaling_sigma", {}, {"sigma": SCALED["sigma"]}, scaled[0].settings, analyze=[along]
    )
    others = [cell for cell in CELLS if cell.experiment != "scaling_sigma"]
    again = draw([*others, one], Options())
    assert again.text == drawing.text


def test_what_never_happened_is_said_in_words(drawing):
    told = drawing.numbers[["predicted", "measured", "note"]].to_numpy().ravel()
    assert not [text for text in told if "nan" in text.split() or "nan," in text]
    row = drawing.numbers.set_index("claim")
    assert "not within these steps" in row.loc["Lemma B.6", "measured"]


def test_symbols_are_typeset_and_names_are_left_alone():
    told = "few_images: ‖w_i‖ and |a_i|, η = -2.5 ± 1.7e-05, √(2 ln(2m))"
    nbsp = "\u00a0"
    assert _typeset(told) == (
        f"few_images: ‖wᵢ‖ and |aᵢ|, η{nbsp}={nbsp}−2.5 ± 1.7e-05, √(2{nbsp}ln(2m))"
    )


def test_the_text_is_a_table(drawing):
    lines = drawing.text.splitlines()
    assert lines[0] == "| " + " | ".join(COLUMNS) + " |"
    assert sum(line.startswith("| ") for line in lines) == len(drawing.numbers) + 1
    assert "n = 20, m = 30, d = 5" in drawing.text


def test_a_missing_experiment_is_named():
    with pytest.raises(ValueError, match="table1 needs the experiment phase_two"):
        draw([cell for cell in CELLS if cell.experiment != "phase_two"], Options())


def test_it_renders(drawing):
    assert_renders(drawing)


def test_the_same_cells_give_the_same_bytes(tmp_path):
    kinds = ("pdf", "png", "csv", "md")
    from labelnoise.plot.parts.style import save

    for name in ("one", "two"):
        save(draw(CELLS, Options()), *(tmp_path / f"{name}.{kind}" for kind in kinds))
    for kind in kinds:
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


def test_a_learning_rate_in_units_of_1_over_m_is_the_same_learning_rate(drawing):
    """Every row compares η with what the theory says of η, in whatever unit it was written."""
    written = draw(everything(float(SMALL["width"])), Options())
    assert written.numbers["verdict"].tolist() == drawing.numbers["verdict"].tolist()
    assert written.numbers["setting"].tolist() == drawing.numbers["setting"].tolist()
    for before, after in zip(drawing.numbers["values"], written.numbers["values"], strict=True):
        pairs = [
            dict(part.rsplit("=", 1) for part in text.split("; ") if part)
            for text in (before, after)
        ]
        assert pairs[0].keys() == pairs[1].keys()
        for name, value in pairs[0].items():
            assert float(pairs[1][name]) == pytest.approx(float(value), rel=1e-4, nan_ok=True)


def test_a_run_that_diverged_has_no_escape_time(drawing):
    """On its way out it leaves for another reason: one cell less is there to be fitted."""
    claim = "Theorem 4.2, in σ"
    before = drawing.numbers.set_index("claim").loc[claim, "measured"]
    assert "at 2 of 3 values" in before
    fast = next(c for c in CELLS if c.experiment == "scaling_sigma" and c.grid["sigma"] == 8)
    assert np.isfinite(fast.analysis["escape_step"]).all()
    gone = fast.analysis.assign(diverged_step=("seed", [1900.0, np.nan]))
    others = [cell for cell in CELLS if cell is not fast]
    again = draw([*others, replace(fast, analyze=[gone])], Options())
    after = again.numbers.set_index("claim").loc[claim, "measured"]
    assert "at 1 of 3 values" in after
