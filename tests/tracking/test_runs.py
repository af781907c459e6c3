"""What a person finds in MLflow: one current run an artifact, comparable, tied to its inputs."""

import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from labelnoise.tracking.runs import made_this, used_this
from labelnoise.tracking.stores import database, embedded
from labelnoise.workflow.layout import FOLDERS

from .conftest import Project

FILES = sorted(
    [
        *(f"results/simulate/grid/sigma={sigma}/block=0.nc" for sigma in (0.5, 4.0)),
        *(f"results/analyze/grid/sigma={sigma}.nc" for sigma in (0.5, 4.0)),
        "results/figures/figure.pdf",
    ]
)


def of(runs: list[Run], artifact: str) -> Run:
    (found,) = (run for run in runs if run.data.tags["labelnoise.artifact"] == artifact)
    return found


def test_logging_twice_changes_nothing_and_a_rerun_replaces(project: Project) -> None:
    assert project.track() == 0
    before = project.runs()
    assert project.artifacts() == FILES
    assert len(before) == len(FILES) + 4  # and two seeds a block
    assert {run.info.status for run in before} == {"FINISHED"}
    assert project.track() == 0
    assert {run.info.run_id for run in project.runs()} == {run.info.run_id for run in before}

    project.cell(4.0)
    path = project.folder / "results/simulate/grid/sigma=4.0/block=0.json"
    path.write_text(path.read_text().replace("c0de", "c1de"))  # made by other code
    assert project.track() == 0
    after = project.runs()
    assert project.artifacts() == FILES
    fresh = {run.info.run_id for run in after} - {run.info.run_id for run in before}
    renewed = [run for run in after if run.info.run_id in fresh]
    assert sorted(run.data.tags["kind"] for run in renewed) == ["file", "seed", "seed"]
    experiments = [e.experiment_id for e in MlflowClient(project.uri).search_experiments()]
    gone = MlflowClient(project.uri).search_runs(experiments, "", ViewType.DELETED_ONLY)
    assert len(gone) == 3


def test_the_same_names_and_types_in_every_verb(project: Project) -> None:
    project.track()
    found = project.runs(expression="tags.labelnoise.artifact LIKE '%sigma=4.0%'")
    assert sorted({run.data.tags["verb"] for run in found}) == ["analyze", "simulate"]
    for run in found:
        settings = {name: run.data.params[name] for name in ("sigma", "eta", "schedule")}
        assert settings == {"sigma": "4.0", "eta": "0.001", "schedule": "null"}
    one = {run.data.params["seed"]: run for run in found if run.data.tags["kind"] == "seed"}
    assert one["1"].data.metrics["final_alignment_mean"] == pytest.approx(0.41)
    assert one["1"].info.run_name == "simulate sigma=4.0 seed=1"
    analysis = of(found, "results/analyze/grid/sigma=4.0.nc")
    assert analysis.data.metrics["final_alignment_mean"] == pytest.approx(0.405)
    history = MlflowClient(project.uri).get_metric_history(analysis.info.run_id, "alignment_mean")
    assert history[0].step == 0
    assert history[-1].step == 990
    assert history[-1].value == pytest.approx(0.405)


def test_lineage_goes_both_ways_and_names_exact_files(project: Project) -> None:
    project.track()
    figure = of(project.runs(expression="tags.verb = 'plot'"), "results/figures/figure.pdf")
    read = {
        each.dataset.name: json.loads(each.dataset.source) for each in figure.inputs.dataset_inputs
    }
    record = json.loads((project.folder / "results/figures/figure.json").read_text())
    assert {name: source["sha256"] for name, source in read.items()} == record["inputs"]
    assert json.loads(figure.data.tags["artifact_digests"]) == record["artifacts"]
    for path in read:
        (source,) = project.runs(expression=made_this(path))
        assert json.loads(source.data.tags["artifact_digests"]) == {path: record["inputs"][path]}
        readers = project.runs(expression=used_this(path))
        assert figure.info.run_id in {run.info.run_id for run in readers}
    assert of(readers, "results/figures/figure.pdf")
    logged = MlflowClient(project.uri).list_artifacts(figure.info.run_id)
    assert {file.path for file in logged} == {"figure.pdf", "figure.json"}


def test_a_moved_folder_is_logged_anew_where_it_is_now(project: Project, tmp_path: Path) -> None:
    project.track()
    moved = Project(tmp_path / "it's moved")
    shutil.move(project.folder, moved.folder)
    assert moved.track() == 0
    assert moved.artifacts() == FILES
    assert not project.folder.exists()
    figure = of(moved.runs(expression="tags.verb = 'plot'"), "results/figures/figure.pdf")
    assert Path(
        MlflowClient(moved.uri).download_artifacts(figure.info.run_id, "figure.pdf")
    ).is_file()


def test_every_verb_has_a_folder() -> None:
    rules = Path(__file__).parents[2] / "workflow/rules"
    others = {"common", "hooks", "scheduling", "track"}
    assert {path.stem for path in rules.glob("*.smk")} - others == set(FOLDERS)


def test_a_folder_with_a_question_mark_in_its_name_has_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the address of a store a ? ends the path: the folder above must not be in it."""
    folder = tmp_path / "why?"
    folder.mkdir()
    monkeypatch.chdir(folder)
    file = database(embedded(Path("results")))
    assert file is not None and "?" not in str(file)
    assert file.resolve() == (folder / "results/mlflow/mlflow.db").resolve()
