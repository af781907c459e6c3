"""What decides a result, in one string: digests of code, and recipes."""

import ast
import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from labelnoise.artifacts.provenance import file_digest
from labelnoise.config.modules import module_file

PACKAGE = Path(__file__).parents[1]


def _source(module: str) -> Path | None:
    """The file of a module of this package; None for anything else."""
    parts = module.split(".")
    if parts[0] != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*parts[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return tree


def _imports(module: str, path: Path, tree: ast.Module) -> set[str]:
    """The modules of this package that a module imports, at its top or in a function."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, node.module] if node.module else base)
            names = [prefix, *(f"{prefix}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            found |= {".".join(parts[: i + 1]) for i in range(len(parts))}
    return {name for name in found if _source(name)}


@functools.cache
def _digest_and_imports(module: str) -> tuple[str, frozenset[str]]:
    path = _source(module)
    if path is None:
        raise ModuleNotFoundError(f"{module} is not a module of {PACKAGE.name}")
    digest, tree = _tree_digest(path)
    return digest, frozenset(_imports(module, path, tree))


def _tree_digest(path: Path) -> tuple[str, ast.Module]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    dump = ast.dump(_without_docstrings(tree))
    return hashlib.sha256(dump.encode()).hexdigest(), tree


def code_digest(script: Path, modules: Iterable[str]) -> str:
    """SHA-256 of the syntax trees of a script, modules, and all in this package they import.

    The script's own imports are not followed: what it takes from the package beside `modules`
    keeps books and decides no content. Comments, docstrings and layout do not count: a reworded
    comment leaves the digest as it was.
    """
    reached: dict[str, str] = {"": _tree_digest(script)[0]}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached[module], imports = _digest_and_imports(module)
            waiting.extend(imports)
    return hashlib.sha256(json.dumps(sorted(reached.items())).encode()).hexdigest()


def foreign_digest(name: str) -> str:
    """SHA-256 of the syntax tree of the module in `package.module:Class`; not of what it imports.

    Of a compiled module, of its file.

    Raises:
        ModuleNotFoundError: there is no file of that name.
    """
    module = name.partition(":")[0]
    path = module_file(module)
    if path is None:
        raise ModuleNotFoundError(f"{module}: no Python file of that name on PYTHONPATH")
    return _tree_digest(path)[0] if path.suffix == ".py" else file_digest(path)


def recipe(script: Path, modules: Iterable[str], libraries: Iterable[str], **content: Any) -> str:
    """Everything that decides an artifact's content, as canonical JSON.

    It is the one param of a rule: Snakemake reruns a job when, and only when, this string or the
    content of an input changes, and says what it was and is.
    """
    return json.dumps(
        content
        | {
            "code": code_digest(script, modules),
            "libraries": {name: importlib.metadata.version(name) for name in libraries},
        },
        sort_keys=True,
        ensure_ascii=False,
    )
