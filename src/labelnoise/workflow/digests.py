"""Which code decides a result, definition by definition, and the digest of it.

A result depends on the functions, classes and constants that its entry points mention, on those
that these mention, and so on: not on whole files. What decides nothing is in no digest: comments,
docstrings and bare strings, the texts of errors, and the fields and validators of settings (what a
setting is called, its default, its range: the recipe holds its value). Blocks under
`if TYPE_CHECKING:` never run.

Code is read, never imported.
"""

import ast
import functools
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from labelnoise.artifacts.provenance import file_digest
from labelnoise.config.modules import module_file

PACKAGE = Path(__file__).parents[1]

WHOLE = "*"
"""In place of a definition's name: all of a module."""

PROSE = {"description", "examples", "title"}
"""Arguments of pydantic's `Field` that people read and nothing else."""

VALIDATORS = {"field_validator", "model_validator"}
"""They refuse settings, or change them before they are in the recipe."""

Closure = Mapping[str, frozenset[str]]
"""The names of the definitions that are reached, by module."""


@dataclass(frozen=True)
class _Definition:
    """A top-level statement: its digest, and what it mentions as (name, attribute or None)."""

    digest: str
    mentions: frozenset[tuple[str, str | None]]
    imports: dict[str, tuple[str, str | None]]


@dataclass
class _Module:
    """What a module's top level holds.

    Attributes:
        definitions: by name; a statement that binds two names is there twice.
        effects: statements that do something when the module is imported.
        imports: what a name stands for: (module, name in it), or (module, None).
    """

    definitions: dict[str, _Definition] = field(default_factory=dict)
    effects: list[_Definition] = field(default_factory=list)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)


def source_file(module: str) -> Path | None:
    """The file of a module of this package; None for anything else."""
    parts = module.split(".")
    if parts[0] != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*parts[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _called(node: ast.expr) -> str:
    """The name of what a call or decorator calls: `Field` of `pydantic.Field(…)`."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


class _Deciding(ast.NodeTransformer):
    """Takes out of a tree what decides nothing."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _called(node) == "Field":
            node.keywords = [each for each in node.keywords if each.arg not in PROSE]
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = [each for each in node.body if not self._declares(each)]
        return self.generic_visit(node)

    @staticmethod
    def _declares(node: ast.stmt) -> bool:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call):
            return _called(node.value) == "Field"
        return isinstance(node, ast.FunctionDef) and any(
            _called(decorator) in VALIDATORS for decorator in node.decorator_list
        )


def _definition(node: ast.stmt, module: str, is_package: bool) -> _Definition:
    node = _Deciding().visit(node)
    mentions: set[tuple[str, str | None]] = set()
    dotted: set[int] = set()
    imports: dict[str, tuple[str, str | None]] = {}
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            mentions.add((part.value.id, part.attr))
            dotted.add(id(part.value))
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
            if id(part) not in dotted:
                mentions.add((part.id, None))
        elif isinstance(part, ast.Import | ast.ImportFrom):
            imports |= _imports(part, module, is_package)
    digest = hashlib.sha256(ast.dump(node).encode()).hexdigest()
    return _Definition(digest, frozenset(mentions), imports)


def _imports(
    node: ast.Import | ast.ImportFrom, module: str, is_package: bool
) -> dict[str, tuple[str, str | None]]:
    """What the names that an import binds stand for, where it is of this package."""
    if isinstance(node, ast.Import):
        # `import labelnoise.rng` binds `labelnoise`, and brings in labelnoise.rng
        return {
            alias.asname or alias.name.split(".")[0]: (alias.name, None)
            for alias in node.names
            if source_file(alias.name)
        }
    parts = module.split(".")
    package = parts if is_package else parts[:-1]
    base = package[: len(package) - node.level + 1] if node.level else []
    source = ".".join([*base, node.module] if node.module else base)
    if source_file(source) is None:
        return {}
    found: dict[str, tuple[str, str | None]] = {}
    for alias in node.names:
        inner = f"{source}.{alias.name}"
        found[alias.asname or alias.name] = (
            (inner, None) if source_file(inner) else (source, alias.name)
        )
    return found


def _names(node: ast.stmt) -> list[str] | None:
    """The names that a statement defines; None where it does something else, too."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else None
    if isinstance(node, ast.Assign):
        names: list[str] = []
        for target in node.targets:
            for part in target.elts if isinstance(target, ast.Tuple | ast.List) else [target]:
                if not isinstance(part, ast.Name):
                    return None
                names.append(part.id)
        return names
    return None


@functools.cache
def _read(module: str) -> _Module:
    path = source_file(module)
    if path is None:
        raise ModuleNotFoundError(f"{module} is not a module of {PACKAGE.name}")
    is_package = path.name == "__init__.py"
    found = _Module()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.imports |= _imports(node, module, is_package)
            if any(alias.name == "*" for alias in node.names):
                raise ValueError(f"{path}: import *; name what is needed")
        elif not _does_nothing(node):
            _define(found, node, module, is_package)
    return found


def _does_nothing(node: ast.stmt) -> bool:
    """Whether a statement is a text, or for type checkers only."""
    if isinstance(node, ast.If):
        return _called(node.test) == "TYPE_CHECKING"
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _define(found: _Module, node: ast.stmt, module: str, is_package: bool) -> None:
    """Take a top-level statement in, by the names that it defines."""
    names = _names(node)
    definition = _definition(node, module, is_package)
    if names is None:
        found.effects.append(definition)
        found.imports |= definition.imports  # try: import fcntl …
        names = [
            part.id
            for part in ast.walk(node)
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
        ]
    found.definitions |= dict.fromkeys(names, definition)


def _mentioned(module: str, definition: _Definition) -> Iterable[tuple[str, str]]:
    """The definitions of this package that one mentions, as (module, name)."""
    content = _read(module)
    imports = content.imports | definition.imports
    for name, attribute in definition.mentions:
        if name in imports:
            source, inner = imports[name]
            if inner is None:
                yield source, attribute or WHOLE
            else:
                yield source, inner
        elif name in content.definitions:
            yield module, name


def closure(entries: Iterable[str], chosen: Collection[str] = ()) -> Closure:
    """The definitions that entry points mention, at any depth.

    Args:
        entries: `module:name`; a module alone is all of it.
        chosen: names, as in `entries`, that are not followed: tables of which one row is taken,
            that row being among the entries.

    Raises:
        ModuleNotFoundError: a module is none of this package.
        LookupError: a module has no such name.
    """
    waiting: list[tuple[str, str]] = []
    for entry in entries:
        module, _, name = entry.partition(":")
        content = _read(module)
        if name and name not in content.definitions:
            raise LookupError(f"{module} defines no {name}")
        waiting.append((module, name or WHOLE))
    asked = set(waiting)
    reached: dict[str, set[str]] = {}
    while waiting:
        module, name = waiting.pop()
        cut = f"{module}:{name}" in chosen and (module, name) not in asked
        if cut or name in reached.get(module, ()):
            continue
        content = _read(module)
        if name != WHOLE and name not in content.definitions:
            if name in content.imports:  # passed on by a module that imports it
                source, inner = content.imports[name]
                waiting.append((source, inner or WHOLE))
                continue
            inner_module = f"{module}.{name}"
            waiting.append((inner_module, WHOLE) if source_file(inner_module) else (module, WHOLE))
            continue
        if module not in reached:
            reached[module] = set()
            for effect in content.effects:
                waiting.extend(_mentioned(module, effect))
        reached[module].add(name)
        if name == WHOLE:
            waiting.extend((module, each) for each in content.definitions)
        else:
            waiting.extend(_mentioned(module, content.definitions[name]))
    return {module: frozenset(names - {WHOLE}) for module, names in sorted(reached.items())}


def _tree_digest(path: Path) -> str:
    tree = _Deciding().visit(ast.parse(path.read_text(encoding="utf-8")))
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def code_digest(script: Path, entries: Iterable[str], chosen: Collection[str] = ()) -> str:
    """SHA-256 of the code that decides a result: a script, and the closure of its entry points.

    The script's own imports are not followed: what it takes from the package beside its entry
    points writes logs and records, and decides no content.

    Args:
        script: of the rule.
        entries: as for `closure`.
        chosen: as for `closure`.
    """
    parts = [("", "", _tree_digest(script))]
    for module, names in closure(entries, chosen).items():
        content = _read(module)
        parts += [(module, name, content.definitions[name].digest) for name in sorted(names)]
        parts += [(module, "", effect.digest) for effect in content.effects]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def foreign_digest(name: str) -> str:
    """SHA-256 of the code of the module in `package.module:Class`; not of what it imports.

    Of a compiled module, of its file.

    Raises:
        ModuleNotFoundError: there is no file of that name.
    """
    module = name.partition(":")[0]
    path = module_file(module)
    if path is None:
        raise ModuleNotFoundError(f"{module}: no Python file of that name on PYTHONPATH")
    return _tree_digest(path) if path.suffix == ".py" else file_digest(path)
