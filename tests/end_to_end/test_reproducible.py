"""The same bits from the same configuration, whatever the folder, machine settings or cores."""

import os
from pathlib import Path

import pytest

from .conftest import Checkout
from .tiny import tiny_checkout

pytestmark = pytest.mark.xdist_group("tiny")


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
    first, again = tiny.digests(), other.digests()
    assert len(first) == 21  # images, 4 × (runs, analysis), 2 weights, 2 linearised, 8 of figures
    assert again == first
