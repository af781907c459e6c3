"""The project's own papers agree: packages, generated docs, the README's commands."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from labelnoise.config.load import load

ROOT = Path(__file__).parents[1]


def pins(lines: list[str]) -> dict[str, Version]:
    found = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, version = line.split(";")[0].split("==")
            found[canonicalize_name(name)] = Version(version)
    return found


CONSTRAINTS = pins((ROOT / "constraints.txt").read_text().splitlines())


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + [line for extra in extras.values() for line in extra]
    return [r for r in map(Requirement, lines) if r.name != project["name"]]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda r: r.name)
def test_every_requirement_is_pinned_within_its_range(requirement: Requirement) -> None:
    assert CONSTRAINTS[canonicalize_name(requirement.name)] in requirement.specifier


def test_the_conda_environment_has_the_same_packages() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    names = {canonicalize_name(requirement.name) for requirement in requirements()}
    assert pins(pip["pip"]) == {name: CONSTRAINTS[name] for name in names}


def test_generated_files_are_up_to_date() -> None:
    command = [sys.executable, "-m", "labelnoise", "docs", "--check", "--root", str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_reliability_page_names_tests_that_are_there() -> None:
    rows = [
        row for row in (ROOT / "docs/reliability.md").read_text().splitlines() if row[:1] == "|"
    ]
    named = [set(re.findall(r"`([\w/]+\.py)`", row)) for row in rows]
    for row, files in zip(rows, named, strict=True):
        assert files or row.startswith(("| what was tried |", "|---")), row
        for file in files:
            assert (ROOT / "tests" / file).is_file(), file
    assert len(set().union(*named)) > 10


def test_what_snakemake_reads_at_every_call_imports_nothing_heavy() -> None:
    rules = (ROOT / "workflow/rules/common.smk").read_text()
    lines = re.findall(r"^from labelnoise.*$", rules, re.MULTILINE)
    assert len(lines) > 5
    code = "\n".join([*lines, "import sys", "print(*sys.modules)"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "mlflow", "matplotlib", "numba", "xarray", "seaborn", "scipy"}
    assert not heavy & {*done.stdout.split()}


def test_a_check_of_the_gpu_says_that_there_is_none() -> None:
    command = [sys.executable, str(ROOT / "benchmarks/gpu_check.py")]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "gpu-check: torch finds no NVIDIA GPU here; nothing was run\n"
    assert done.stdout == ""


def commands(start: str) -> list[str]:
    """The commands in the README's code blocks that start with a word."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(start + " ")]


@pytest.mark.parametrize("command", commands("make"))
def test_a_make_command_of_the_readme_exists(command: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", *command.split()[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", commands("snakemake"))
def test_a_snakemake_command_of_the_readme_plans(command: str, tmp_path: Path) -> None:
    shell = f"{sys.executable} -m {command} --dry-run --directory {tmp_path}"
    done = subprocess.run(shell, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def yaml_blocks() -> list[str]:
    """The configuration examples in the README."""
    return re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("block", yaml_blocks())
def test_a_configuration_of_the_readme_loads_on_top_of_the_default(block: str) -> None:
    from snakemake.utils import update_config

    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    example = yaml.safe_load(block)
    update_config(config, example)
    assert set(example["experiments"]) <= set(load(config).cells)


@pytest.mark.parametrize(
    "block", re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
)
def test_the_python_of_the_readme_names_what_exists(block: str) -> None:
    lines = [line for line in block.splitlines() if line.startswith(("import ", "from "))]
    exec("\n".join(lines), {})
