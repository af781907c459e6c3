"""What Snakemake and the workflow's frame cost, beside the jobs themselves.

    python benchmarks/bench_workflow.py [CORES]

Each call runs in an empty folder. CPU seconds are a process's own and its jobs', read apart; the
bare workflow has as many jobs as the default configuration, and nothing else of ours.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from machine import machine

ROOT = Path(__file__).parents[1]
ROUNDS = 3

# Snakemake, and then what it used and what its jobs used
MEASURED = """
import os, resource, sys
from snakemake.cli import main
try:
    main()
except SystemExit as end:
    if end.code:
        raise
used = os.times()
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print("USED", used.user + used.system, used.children_user + used.children_system, most)
"""

BARE = """
rule all:
    input: expand("out/{{i}}.b", i=range({half}))

rule first:
    output: "out/{{i}}.a"
    shell: "touch {{output}}"

rule second:
    input: "out/{{i}}.a"
    output: "out/{{i}}.b"
    shell: "touch {{output}}"
"""


@dataclass(frozen=True)
class Cost:
    """Of one call: seconds that passed, CPU seconds of its own and of its jobs, memory in MB."""

    wall: float
    own: float
    jobs: float
    memory: float
    output: str

    def row(self, name: str) -> str:
        """A row of the table."""
        share = f"{self.own / (self.own + self.jobs):.1%}" if self.jobs > 1 else ""
        numbers = f"{self.wall:.1f} | {self.own:.1f} | {self.jobs:.1f} | {share}"
        return f"| {name} | {numbers} | {self.memory:.0f} |"


def call(folder: Path, *arguments: str) -> Cost:
    """Run Snakemake in a folder.

    Args:
        folder: where the results are.
        arguments: of `snakemake`.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-c", MEASURED, *arguments, "--directory", str(folder)]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    wall = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    own, jobs, memory = map(float, done.stdout.split("USED")[-1].split())
    return Cost(wall, own, jobs, memory / 1024, done.stdout + done.stderr)


def best(folder: Path, *arguments: str) -> Cost:
    """The call that used least, of some rounds."""
    return min((call(folder, *arguments) for _ in range(ROUNDS)), key=lambda cost: cost.own)


def many(folder: Path) -> Path:
    """A configuration of 10,000 cells that are simulated and analysed, on top of the default."""
    default = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    content: dict[str, Any] = {
        section: dict.fromkeys(default[section]) for section in ("experiments", "figures")
    }
    content["experiments"]["many"] = {
        "verb": "simulate",
        "settings": {"steps": 1000, "snapshots": 11},
        "grid": {
            "sigma": [round(0.1 * (i + 1), 2) for i in range(100)],
            "eta": [round(1e-5 * (i + 1), 8) for i in range(100)],
        },
        "seeds": 4,
    }
    content["figures"]["phase_diagram"] = {"experiments": ["many"]}
    path = folder / "many.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def main() -> None:
    """Measure and print."""
    cores = ["--cores", sys.argv[1]] if len(sys.argv) > 1 else []
    smoke = ["--configfile", "config/smoke.yaml"]
    # logging to MLflow has a benchmark of its own
    quiet = ["--config", "tracking={enabled: false}"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = []
        planned = best(folder / "none", "-n", *quiet)
        jobs = sum(line.startswith("Job ") for line in planned.output.splitlines())
        rows.append(planned.row(f"dry run of the default configuration, {jobs} jobs"))
        bare = folder / "Snakefile"
        bare.write_text(BARE.format(half=jobs // 2), encoding="utf-8")
        arguments = ["-n", "-s", str(bare), "--workflow-profile", "none"]
        rows.append(
            best(folder / "bare", *arguments).row(f"the same of a bare workflow, {jobs} jobs")
        )
        rows.append(
            call(folder / "many", "-n", "-q", "all", "--configfile", str(many(folder))).row(
                "dry run of 10,000 cells, 20,000 jobs"
            )
        )
        rows.append(
            call(folder / "figure", "figure2", *cores, *quiet).row(
                "`snakemake figure2` from nothing"
            )
        )
        rows.append(
            call(folder / "smoke", *cores, *smoke, *quiet).row("all figures of config/smoke.yaml")
        )
        rows.append(
            best(folder / "smoke", *cores, *smoke, *quiet).row("the same again: nothing to do")
        )
    print(f"{', '.join(f'{k} {v}' for k, v in machine().items())}\n")
    print("| call | wall, s | Snakemake's own CPU, s | its jobs' CPU, s | own share | memory, MB |")
    print("|---|---:|---:|---:|---:|---:|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
