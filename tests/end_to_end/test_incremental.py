"""What reruns after an edit: what depends on it, and nothing else."""

import pytest

from .conftest import Checkout

pytestmark = pytest.mark.xdist_group("smoke")

SIMULATE = {
    f"simulate two_phases sigma={sigma}, seeds of block {block}"
    for sigma in ("0.0", "4.0")
    for block in (0, 1)
}
ANALYZE = {f"analyze two_phases sigma={sigma}" for sigma in ("0.0", "4.0")}
PLOT = {"plot figure2"}


def test_a_reworded_comment_and_docstring_rerun_nothing(made: Checkout) -> None:
    path = "src/labelnoise/simulate/compiled.py"
    made.edit(path, "# NumPy aligns to 16 bytes", "# NumPy aligns arrays to 16 bytes")
    made.edit(path, '"""Run label-noise SGD', '"""Take steps of label-noise SGD')
    made.edit("workflow/scripts/simulate.py", '"""Simulate one', '"""Simulate a')
    assert made.planned() == set()


def test_an_edit_of_the_tracker_reruns_nothing(made: Checkout) -> None:
    made.edit("src/labelnoise/tracking/curves.py", "POINTS = 51", "POINTS = 101")
    assert made.planned("figure2") == set()


def test_a_touched_input_reruns_nothing(made: Checkout) -> None:
    for path in (made.folder / "results").rglob("*.nc"):
        path.touch()
    assert made.planned("figure2") == set()


def test_a_restyled_figure_is_the_plot_alone(made: Checkout) -> None:
    made.edit("src/labelnoise/plot/figures/figure2.py", "(TEXT_WIDTH, 4.3)", "(TEXT_WIDTH, 4.0)")
    assert made.planned("figure2") == PLOT

    assert made.planned() == PLOT  # and of all figures it is the only one


def test_an_edit_of_the_shared_style_redraws_and_computes_nothing(made: Checkout) -> None:
    made.edit("src/labelnoise/plot/parts/style.py", '"axes.labelsize": 8', '"axes.labelsize": 9')
    jobs = made.planned()
    assert jobs > PLOT
    assert all(job.startswith("plot ") for job in jobs)


def test_an_edit_of_the_simulator_reruns_everything(made: Checkout) -> None:
    made.edit("src/labelnoise/simulate/engines.py", "x.T @ x / len(x)", "x.T @ x / x.shape[0]")
    assert made.planned("figure2") == SIMULATE | ANALYZE | PLOT


def test_an_edit_of_the_analysis_leaves_the_simulations(made: Checkout) -> None:
    made.edit("src/labelnoise/analyze/summary.py", 'f"reached_{name}"', 'f"that_reached_{name}"')
    assert made.planned("figure2") == ANALYZE | PLOT


def test_a_deleted_file_is_made_again_for_the_figure_that_read_it(made: Checkout) -> None:
    path = made.folder / "results/analyze/two_phases/sigma=4.0.nc"
    content = path.read_bytes()
    path.unlink()
    try:
        assert made.planned("figure2") == {"analyze two_phases sigma=4.0"} | PLOT
        assert made.planned() >= {"analyze two_phases sigma=4.0"}
    finally:
        path.write_bytes(content)


def test_a_deleted_trajectory_that_no_figure_reads_stays_deleted(made: Checkout) -> None:
    path = made.folder / "results/simulate/leaving_lazy/sigma=4.0/block=0.nc"
    content = path.read_bytes()
    path.unlink()
    try:
        assert made.planned() == set()
    finally:
        path.write_bytes(content)


def test_an_edited_script_reruns_its_rule(made: Checkout) -> None:
    made.edit("workflow/scripts/analyze.py", "Curves and phases of", "Phases and curves of")
    assert made.planned("figure2") == ANALYZE | PLOT


def test_an_added_seed_is_one_block(made: Checkout) -> None:
    made.edit("config/smoke.yaml", "seeds: 2", "seeds: 3")
    added = {f"simulate two_phases sigma={sigma}, seeds of block 2" for sigma in ("0.0", "4.0")}
    assert made.planned("figure2") == added | ANALYZE | PLOT


def test_an_added_sigma_is_that_cell(made: Checkout) -> None:
    made.edit("config/config.yaml", "sigma: [0.0, 4.0]", "sigma: [0.0, 2.0, 4.0]")
    added = {f"simulate two_phases sigma=2.0, seeds of block {block}" for block in (0, 1)}
    assert made.planned("figure2") == added | {"analyze two_phases sigma=2.0"} | PLOT


def test_an_option_of_the_figure_is_the_plot_alone(made: Checkout) -> None:
    made.edit(
        "config/smoke.yaml",
        "experiments:",
        "figures: {figure2: {options: {times: [0, 1]}}}\nexperiments:",
    )
    assert made.planned("figure2") == PLOT


def test_a_threshold_of_the_analysis_leaves_the_simulations(made: Checkout) -> None:
    assert made.planned("figure2", "--config", "analysis={lazy_threshold: 0.2}") == ANALYZE | PLOT


def test_the_dry_run_says_why(made: Checkout) -> None:
    made.edit("config/config.yaml", " steps: 1000000\n", " steps: 1000000 # unchanged\n")
    made.edit("config/smoke.yaml", "eta: 0.01", "eta: 0.02")
    output = made.snakemake("--dry-run")
    assert "Params have changed since last execution" in output
    assert '"eta": 0.01,' in output and '"eta": 0.02,' in output


def test_an_added_row_of_the_phase_diagram_is_that_row(made: Checkout) -> None:
    made.edit("config/smoke.yaml", "sigma: [0.1, 1.0, 10.0]", "sigma: [0.1, 1.0, 3.0, 10.0]")
    assert made.planned("phase_diagram") == {
        "simulate phase_sgd sigma=3.0, seeds of block 0",
        "analyze phase_sgd sigma=3.0",
        "plot phase_diagram",
    }
