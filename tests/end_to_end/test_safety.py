"""A configuration is data: nothing in it runs, leads out of results/ or is told to others."""

import json
from pathlib import Path

import pytest

from .conftest import Checkout, new_checkout
from .tiny import TINY, tiny_checkout

LINES = TINY["experiments"]["lines"]
DRAWN = {"drawn_by": "figure2", "experiments": ["lines"]}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which nothing is ever made; its configuration is what a test writes."""
    return new_checkout(tmp_path_factory.mktemp("refused") / "checkout")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"experiments": {"../../out": LINES}}, ["experiments.../../out: got", "^[a-z]"]),
        ({"figures": {"/tmp/out": DRAWN}}, ["figures./tmp/out: got", "^[a-z]"]),
        ({"experiments": {"mlps": {"settings": {"tua": 1}}}}, ["settings.tua", "mean tau?"]),
        ({"experiments": {"mlps": {"grid": {"tau": [2]}}}}, ["mlps.grid.tau", "got 2", "1"]),
        ({"experiments": {"lines": {"seeds": -3}}}, ["lines.seeds", "got -3", "1"]),
        (
            {"experiments": {"mlps": {"settings": {"network": "os:system"}}}},
            ["mlps.settings.network", "LABELNOISE_ALLOW_MODULES=os"],
        ),
        ({"tracking": "postgresql://me:h0rse@host/db"}, ["tracking: got", "me:***@host"]),
    ],
)
def test_a_wrong_configuration_is_one_message_and_no_job(
    refused: Checkout, changes: dict[str, object], words: list[str]
) -> None:
    (refused.folder / "config/config.yaml").write_text(json.dumps(TINY))
    (refused.folder / "config/smoke.yaml").write_text(json.dumps(changes))
    output = refused.snakemake("--cores", "1", fails=True)
    for word in ["the configuration is wrong", *words]:
        assert word in output
    assert "Traceback" not in output and "h0rse" not in output
    assert not (refused.folder / "results").exists()


def test_yaml_that_would_make_python_objects_is_refused(refused: Checkout) -> None:
    evil = '{device: !!python/object/apply:os.system ["touch ran"]}'
    for name in ("config", "smoke"):
        (refused.folder / "config/config.yaml").write_text(json.dumps(TINY))
        (refused.folder / "config/smoke.yaml").write_text("{}")
        (refused.folder / f"config/{name}.yaml").write_text(evil)
        output = refused.snakemake("--dry-run", fails=True)
        assert "not valid JSON or YAML" in output
        assert "Traceback" not in output
        assert not (refused.folder / "ran").exists()


def test_a_password_of_the_tracking_store_goes_nowhere(tmp_path: Path) -> None:
    checkout = tiny_checkout(tmp_path / "checkout")
    # what the process that logs was started with
    checkout.edit(
        "src/labelnoise/__main__.py",
        'if __name__ == "__main__":',
        'if __name__ == "__main__":\n    Path("arguments").write_text(str(sys.argv))',
    )
    secret = {"tracking": {"uri": "http://me:h0rse@127.0.0.1:9"}}
    (checkout.folder / "config/smoke.yaml").write_text(json.dumps(secret))
    output = checkout.snakemake("results/images/digits.nc", "--cores", "1")
    assert "not everything was logged to http://me:***@127.0.0.1:9" in output
    assert "h0rse" not in output
    assert (checkout.folder / "arguments").is_file()
    (checkout.folder / "config/smoke.yaml").unlink()
    for file in checkout.folder.rglob("*"):
        assert not file.is_file() or b"h0rse" not in file.read_bytes(), file


@pytest.mark.xdist_group("tiny")
def test_a_description_includes_no_file_in_the_report(tiny: Checkout, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("h0rse")
    changed = {"figures": {"figure2": {"description": f"Lines.\n\n.. include:: {tmp_path}/secret"}}}
    overlay = tiny.folder / "config/smoke.yaml"
    overlay.write_text(json.dumps(changed))
    try:
        tiny.snakemake("--report", "report.html")
    finally:
        overlay.write_text("{}")
    page = (tiny.folder / "report.html").read_text(encoding="utf-8")
    assert "Lines. .. include::" in page
    assert "h0rse" not in page
