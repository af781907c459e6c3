"""Where a result came from: digests of files, git, host."""

import getpass
import hashlib
import platform
import subprocess
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def origin() -> dict[str, str]:
    """Where something is computed: git commit and whether the tree is dirty, host, user, Python."""
    status = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "git_commit": _git("rev-parse", "HEAD") or "unknown",
        "git_dirty": "unknown" if status is None else str(bool(status)).lower(),
        "host": platform.node(),
        "user": getpass.getuser(),
        "python": platform.python_version(),
    }
