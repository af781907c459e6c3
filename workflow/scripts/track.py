"""Log to MLflow what is not there yet."""

import subprocess
import sys
from pathlib import Path

done = subprocess.run(snakemake.params.command, capture_output=True, text=True)
Path(snakemake.log[0]).write_text(done.stdout + done.stderr, encoding="utf-8")
sys.exit(done.returncode)
