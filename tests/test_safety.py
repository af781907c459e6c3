"""What a configuration names is not run, and no password is shown."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from labelnoise.artifacts.store import ArtifactError, open_dataset
from labelnoise.config.commandline import _Loader
from labelnoise.tracking.stores import shown


class Bomb:
    """Unpickled, it goes off."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was loaded",))


def test_a_pickle_in_place_of_an_artifact_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "block=0.nc"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ArtifactError, match="not a readable netCDF-4 file"):
        open_dataset(path)


def test_a_pickle_in_place_of_weights_is_not_loaded(tmp_path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = tmp_path / "block=0.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(SafetensorError):
        load_file(path)


def test_no_code_of_ours_loads_pickles() -> None:
    """Only the reader of CIFAR-10's own archives does, by an unpickler that runs nothing.

    The command line's YAML is read by a loader that makes nothing but plain values.
    """
    root = Path(__file__).parents[1]
    found = {
        file.name
        for folder in ("src", "workflow")
        for file in (root / folder).rglob("*.py")
        for word in ("pickle", "torch.load", "allow_pickle=True", "yaml.load", "eval(", "exec(")
        if word in file.read_text(encoding="utf-8").replace(".eval()", "")
    }
    assert found == {"archives.py", "commandline.py"}
    assert issubclass(_Loader, yaml.SafeLoader)
    with pytest.raises(yaml.YAMLError):
        yaml.load("!!python/object/apply:os.getcwd []", _Loader)


@pytest.mark.parametrize(("allowed", "loads"), [("mine", True), ("", False), ("other", False)])
def test_loading_a_configuration_imports_no_module_that_it_names(
    tmp_path: Path, allowed: str, loads: bool
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/__init__.py").write_text("open('imported', 'w')")
    (tmp_path / "mine/nets.py").write_text("open('imported', 'w')")
    settings = {"network": "mine.nets:Net", "steps": 9, "snapshots": 2}
    raw = {
        "experiments": {"x": {"verb": "train", "settings": settings, "grid": {"tau": [0, 0.5]}}},
        "figures": {"mine": {"drawn_by": "figure3", "experiments": ["x"]}},
    }
    code = (
        "from labelnoise.config.load import ConfigError, load\n"
        "from labelnoise.workflow.digests import foreign_digest\n"
        f"try: load({raw}); foreign_digest('mine.nets:Net'); print('loaded')\n"
        "except ConfigError as error: print(error)\n"
    )
    path = [str(tmp_path), str(Path(__file__).parents[1] / "src")]
    environment = {"PYTHONPATH": ":".join(path), "LABELNOISE_ALLOW_MODULES": allowed}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    if loads:
        assert done.stdout == "loaded\n", done.stderr
    else:
        assert "would import the package mine; if you trust it, set" in done.stdout, done.stderr
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("uri", "safe"),
    [
        ("sqlite:////folder/mlflow.db", "sqlite:////folder/mlflow.db"),
        ("https://host:5000", "https://host:5000"),
        ("https://me@host/x", "https://me@host/x"),
        ("https://me:pw@host/x", "https://me:***@host/x"),
        ("postgresql://me:p@w@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:p:w/d?x@host/db", "postgresql://me:***@host/db"),
        ("postgresql://:pw@host/db", "postgresql://:***@host/db"),
        ("postgresql://host/db?user=me&password=pw", "postgresql://host/db?user=me&password=***"),
        ("mysql://host/db?passwd=pw&x=1", "mysql://host/db?passwd=***&x=1"),
    ],
)
def test_an_address_is_shown_without_its_password(uri: str, safe: str) -> None:
    assert shown(uri) == safe
