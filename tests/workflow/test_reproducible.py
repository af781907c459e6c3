"""The same bits from the same configuration, whatever the folder, machine settings or cores."""

import hashlib
import os
from pathlib import Path

import pytest

from .conftest import Checkout
from .tiny import tiny_checkout


def digests(folder: Path) -> dict[str, str]:
    """The digest of every artifact under results/: not of logs, records and MLflow's files."""
    results = folder / "results"
    return {
        str(path.relative_to(results)): hashlib.sha256(path.read_bytes()).hexdigest()
        for kind in ("nc", "safetensors", "png", "pdf", "csv", "md")
        for path in sorted(results.rglob(f"*.{kind}"))
        if "mlflow" not in path.parts
    }


def test_a_clean_checkout_elsewhere_gives_the_same_bytes(
    tiny: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "Zuhause, größer"
    home.mkdir()
    monkeypatch.delenv("LANG", raising=False)
    monkeypatch.setenv("LC_ALL", "C")  # no character but ASCII's is one
    monkeypatch.setenv("PYTHONUTF8", "0")
    monkeypatch.setenv("PYTHONCOERCECLOCALE", "0")
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    monkeypatch.setenv("PYTHONHASHSEED", "4242")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("COLUMNS", "40")
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    other = tiny_checkout(tmp_path / "ein anderer Ordner")
    before = os.umask(0o077)
    try:
        other.snakemake("--cores", "1")
    finally:
        os.umask(before)
    first, again = digests(tiny.folder), digests(other.folder)
    assert len(first) == 21  # images, 4 × (runs, analysis), 2 weights, 2 linearised, 8 of figures
    assert again == first
