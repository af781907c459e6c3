"""How often Snakemake's scheduler looks at the jobs."""

import re
import subprocess
import sys
from pathlib import Path

JOBS, CORES = 24, 4

SNAKEFILE = f"""
from labelnoise.workflow.forecast import calm
from snakemake.scheduling.job_scheduler import JobScheduler

passes = [0]
select = JobScheduler.job_selector

def counted(self, jobs):
    passes[0] += 1
    return select(self, jobs)

JobScheduler.job_selector = counted

onstart:
    calm(workflow)

rule all:
    input: expand("out/{{i}}", i=range({JOBS}))

rule job:
    output: "out/{{i}}"
    shell: "sleep 0.8; touch {{output}}"

onsuccess:
    print(passes[0], "passes")
"""


def test_passes_do_not_grow_with_the_jobs_that_have_ended(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "--cores", str(CORES), "--scheduler", "greedy"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (passes,) = re.findall(r"(\d+) passes", done.stdout)
    # a pass for each job that ends, and one to begin with
    assert int(passes) <= JOBS + 1
