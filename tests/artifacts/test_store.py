"""Artifacts on disk: what goes in comes out, whole or not at all."""

import json
import subprocess
import sys

import netCDF4
import numpy as np
import pytest
import xarray as xr

from labelnoise.artifacts.store import (
    SCHEMA_VERSION,
    ArtifactError,
    open_dataset,
    replacing,
    write_dataset,
    write_json,
)
from labelnoise.simulate.run import simulate, simulate_along
from labelnoise.simulate.settings import Settings

SETTINGS = Settings(width=20, dim=3, samples=10, steps=300, snapshots=5, trace_steps=20)
RECIPE = {
    "experiment": "two_phases",
    "settings": SETTINGS.model_dump(),
    "seeds": [0, 5],
    "symbol": "‖θ*‖",
    "code": "0" * 64,
    "libraries": {"numpy": "2.0"},
}


@pytest.fixture(scope="module")
def runs():
    return simulate(SETTINGS, [0, 5])


def write(data, path, **more):
    given = {"title": "Runs", "recipe": RECIPE, "inputs": {"some/file.nc": "1" * 64}} | more
    write_dataset(data, path, **given)


def test_a_simulation_comes_back_as_it_was(runs, tmp_path):
    path = tmp_path / "new" / "runs.nc"
    write(runs, path)
    with open_dataset(path) as found:
        assert set(found.variables) == set(runs.variables)
        for name, variable in runs.variables.items():
            assert found[name].dims == variable.dims, name
            assert found[name].dtype == variable.dtype, name
            np.testing.assert_array_equal(found[name], variable)
            for key, value in variable.attrs.items():
                assert found[name].attrs[key] == value, (name, key)
            assert found[name].attrs["long_name"], name
            assert found[name].attrs["units"], name


def test_a_diverged_run_comes_back_as_it_was(tmp_path):
    runs = simulate(SETTINGS.model_copy(update={"eta": 1.0}), [0, 1])
    assert np.isfinite(runs["diverged_step"]).all()
    write(runs, tmp_path / "runs.nc")
    with open_dataset(tmp_path / "runs.nc") as found:
        xr.testing.assert_equal(found, runs)


def test_the_file_says_what_it_is(runs, tmp_path):
    write(runs, tmp_path / "runs.nc")
    with xr.open_dataset(tmp_path / "runs.nc") as found:
        attributes = found.attrs
    assert attributes["title"] == "Runs"
    assert attributes["Conventions"].startswith("CF-")
    assert attributes["source"].startswith("labelnoise ")
    assert "2603.10397" in attributes["references"]
    assert attributes["schema_version"] == SCHEMA_VERSION
    assert attributes["code_digest"] == RECIPE["code"]
    configuration = json.loads(attributes["configuration"])
    assert configuration == {k: v for k, v in RECIPE.items() if k not in ("code", "libraries")}
    assert Settings(**configuration["settings"]) == SETTINGS
    assert json.loads(attributes["library_versions"]) == RECIPE["libraries"]
    assert json.loads(attributes["input_digests"]) == {"some/file.nc": "1" * 64}


def test_two_writes_give_the_same_bytes(runs, tmp_path):
    write(runs, tmp_path / "one.nc")
    write(simulate(SETTINGS, [0, 5]), tmp_path / "two.nc")
    assert (tmp_path / "one.nc").read_bytes() == (tmp_path / "two.nc").read_bytes()


def test_variables_are_compressed_and_no_chunk_spans_two_seeds(runs, tmp_path):
    write(runs, tmp_path / "runs.nc")
    with netCDF4.Dataset(tmp_path / "runs.nc") as file:
        for name in ("w_norm", "a_trace", "theta"):
            assert file[name].filters()["zlib"], name
            assert file[name].chunking()[0] == 1, name


def test_a_failure_in_the_middle_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "result.json"
    write_json({"old": 1}, path)

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half of a new fi")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_dataset_that_cannot_be_written_keeps_the_old_file(runs, tmp_path):
    path = tmp_path / "runs.nc"
    write(runs, path)
    before = path.read_bytes()
    broken = runs.assign(bad=("seed", np.array([object(), object()])))
    with pytest.raises((TypeError, ValueError)):
        write(broken, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_may_not_grow_is_named(runs, tmp_path):
    """With a limit on the size of files, as under a quota or on a full disk."""
    code = """
import resource, sys
from pathlib import Path
import xarray as xr
from labelnoise.artifacts.store import write_dataset, write_json
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
data = xr.Dataset({"x": ("seed", __import__("numpy").random.default_rng(0).random(9000))})
writes = [
    lambda path: write_dataset(data, path, title="", recipe=RECIPE, inputs={}),
    lambda path: write_json(["x" * 20000], path),
]
for write, name in zip(writes, ["a.nc", "a.json"]):
    try:
        write(Path(name))
    except OSError as error:
        print(error)
""".replace("RECIPE", repr(RECIPE))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    netcdf, text = done.stdout.splitlines()
    assert "a.nc: could not be written" in netcdf
    assert " MB are free there" in netcdf
    assert text == "[Errno 27] File too large: 'a.json'"
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed_and_other_files_are_not(tmp_path):
    path = tmp_path / "result.json"
    stale = tmp_path / ".result.json.99999.part.json"
    other = tmp_path / ".another.json.99999.part.json"
    stale.touch()
    other.touch()
    write_json([1], path)
    assert sorted(tmp_path.iterdir()) == sorted([path, other])


def damaged(content):
    return lambda path: path.write_bytes(content(path.read_bytes()))


def other_version(path):
    with netCDF4.Dataset(path, "a") as file:
        file.schema_version = SCHEMA_VERSION + 1


def foreign(path):
    xr.Dataset({"x": ("t", [1.0])}).to_netcdf(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damaged(lambda _: b"no netCDF at all, but long enough to be one" * 9), "not a readable"),
        (damaged(lambda _: b""), "not a readable"),
        (damaged(lambda content: content[: len(content) // 2]), "not a readable"),
        (other_version, f"schema version {SCHEMA_VERSION + 1}"),
        (foreign, "schema version None"),
    ],
)
def test_a_file_that_is_not_the_artifact_is_named(runs, tmp_path, damage, message):
    path = tmp_path / "runs.nc"
    write(runs, path)
    damage(path)
    with pytest.raises(ArtifactError, match=message) as error:
        open_dataset(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_dataset(tmp_path / "nothing.nc")


def test_runs_along_a_dimension_come_back_as_they_were(tmp_path):
    points = [SETTINGS.model_copy(update={"sigma": sigma}) for sigma in (1.0, 4.0)]
    runs = simulate_along("sigma", points, [0, 5])
    write(runs, tmp_path / "runs.nc")
    with open_dataset(tmp_path / "runs.nc") as found:
        xr.testing.assert_equal(found, runs)
        assert found["theta"].dims == runs["theta"].dims
