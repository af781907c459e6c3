"""MLflow holds one current run an artifact, and costs no result when it is away."""

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from .conftest import Checkout

pytestmark = pytest.mark.xdist_group("smoke")


def runs(checkout: Checkout, experiment: str) -> list[Run]:
    client = MlflowClient(f"sqlite:///{checkout.folder}/results/mlflow/mlflow.db")
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id], run_view_type=ViewType.ACTIVE_ONLY))


def artifacts(found: list[Run]) -> list[str]:
    return sorted(
        run.data.tags["labelnoise.artifact"] for run in found if run.data.tags["kind"] == "file"
    )


def figure2(checkout: Checkout) -> Run:
    (found,) = (r for r in runs(checkout, "figures") if r.info.run_name == "figure2")
    assert found.data.tags["labelnoise.artifact"] == "results/figures/figure2.pdf"
    return found


BLOCKS = [
    f"results/simulate/two_phases/sigma={sigma}/block={block}.nc"
    for sigma in ("0.0", "4.0")
    for block in (0, 1)
]
ANALYSES = [f"results/analyze/two_phases/sigma={sigma}.nc" for sigma in ("0.0", "4.0")]


def test_every_artifact_is_a_run(made: Checkout) -> None:
    found = runs(made, "two_phases")
    assert artifacts(found) == sorted(BLOCKS + ANALYSES)
    figure = figure2(made)
    client = MlflowClient(f"sqlite:///{made.folder}/results/mlflow/mlflow.db")
    logged = {file.path for file in client.list_artifacts(figure.info.run_id)}
    assert {"figure2.png", "figure2.pdf", "figure2.csv", "figure2.json"} <= logged


def test_parameters_are_columns_and_curves_have_steps(made: Checkout) -> None:
    seeds = [run for run in runs(made, "two_phases") if run.data.tags.get("kind") == "seed"]
    columns = sorted((run.data.params["sigma"], run.data.params["seed"]) for run in seeds)
    assert columns == [("0.0", "0"), ("0.0", "1"), ("4.0", "0"), ("4.0", "1")]
    client = MlflowClient(f"sqlite:///{made.folder}/results/mlflow/mlflow.db")
    curve = client.get_metric_history(seeds[0].info.run_id, "alignment_mean")
    assert [point.step for point in curve] == list(range(0, 20001, 1000))


def test_lineage_goes_up_from_the_figure(made: Checkout) -> None:
    read = {each.dataset.name for each in figure2(made).inputs.dataset_inputs}
    assert read == set(BLOCKS + ANALYSES)
    assert read <= set(artifacts(runs(made, "two_phases")))


def test_tracking_again_changes_nothing_and_a_rerun_replaces(made: Checkout) -> None:
    before = {run.info.run_id for run in runs(made, "two_phases")}
    made.snakemake("track")
    assert {run.info.run_id for run in runs(made, "two_phases")} == before
    made.snakemake("figure2", "--forcerun", "analyze")
    after = runs(made, "two_phases")
    assert artifacts(after) == sorted(BLOCKS + ANALYSES)
    renewed = {run.data.tags["verb"] for run in after if run.info.run_id not in before}
    assert renewed == {"analyze"}


def test_a_store_that_is_away_fails_nothing(
    made: Checkout, tmp_path_factory: pytest.TempPathFactory
) -> None:
    away = "tracking={uri: 'http://127.0.0.1:9'}"
    before = figure2(made).info.run_id
    output = made.snakemake("figure2", "--forcerun", "plot", "--config", away)
    assert "all results are safe" in output
    assert "Traceback" not in output
    assert figure2(made).info.run_id == before  # nothing could be logged
    output = made.snakemake("track", "--config", away, fails=True)
    assert output.count("all results are safe") == 1
    made.snakemake("track")
    assert figure2(made).info.run_id != before


def test_what_a_killed_call_left_is_logged_by_the_next(made: Checkout) -> None:
    before = figure2(made).info.run_id
    # as if killed after the last job
    made.snakemake("figure2", "--forcerun", "plot", "--no-hooks")
    for harmless in (["--dry-run"], ["--lint"], ["--summary"], ["--no-hooks"]):
        assert "MLflow" not in made.snakemake(*harmless)
    assert figure2(made).info.run_id == before
    output = made.snakemake()
    assert "Nothing to be done" in output
    assert "MLflow: 1 logged" in output
    assert figure2(made).info.run_id != before
    assert "MLflow" not in made.snakemake()
