"""Log to MLflow what is not there yet."""

import subprocess
import sys
from pathlib import Path

done = subprocess.run(
    snakemake.params.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
)
Path(snakemake.log[0]).write_text(done.stdout, encoding="utf-8")
print(done.stdout, end="", file=sys.stderr)
sys.exit(done.returncode)
