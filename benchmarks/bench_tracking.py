"""What logging to MLflow costs, as a share of the time of the workflow that made the results.

    python benchmarks/bench_tracking.py [RESULTS]

The results are those of one call that began with none, as `make figures` in a clean clone. They are
logged again, to fresh embedded stores: by the command that ends a workflow, its start included. The
workflow's own time is read from the records: from the first job's start to the last one's end.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from machine import machine

from labelnoise.tracking.records import FOLDERS

ROUNDS = 5


def duration(results: Path) -> tuple[float, int]:
    """Seconds from the first job's start to the last one's end; how many records there are."""
    spans = []
    for folder in FOLDERS.values():
        for path in (results / folder).rglob("*.json"):
            record = json.loads(path.read_text(encoding="utf-8"))
            start = datetime.fromisoformat(record["started"]).timestamp()
            spans.append((start, start + record["seconds"]))
    if not spans:
        sys.exit(f"error: there are no records under {results}; make the figures first")
    starts, ends = zip(*spans, strict=True)
    return max(ends) - min(starts), len(spans)


def log(results: Path) -> float:
    """Seconds to log all of it to a store that is made meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "results")
        copy.mkdir()
        for name in FOLDERS.values():
            if (results / name).is_dir():
                (copy / name).symlink_to((results / name).resolve())
        environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "labelnoise", "track"], cwd=folder, env=environment, check=True
        )
        return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    results = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
    whole, records = duration(results)
    seconds = [log(results) for _ in range(ROUNDS)]
    median = statistics.median(seconds)
    print(f"{', '.join(f'{k} {v}' for k, v in machine().items())}\n")
    print("| artifacts | workflow | logging, median | least–most | share |")
    print("|---:|---:|---:|---:|---:|")
    print(
        f"| {records} | {whole:.0f} s | {median:.1f} s | {min(seconds):.1f}–{max(seconds):.1f} s "
        f"| {median / (whole + median):.1%} |"
    )


if __name__ == "__main__":
    main()
