"""The project's own Python sources, parsed: what the tests of floors, sizes and annotations look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("environments", "scenarios", "viz", "marl", "league")
FOLDERS = (*PACKAGES, "tests", "results")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One import: `module` as written in full, and `name` where something is taken out of it."""

    module: str
    name: str | None
    line: int
    at_load: bool
    """True where it runs when the file is imported: outside functions and outside `if TYPE_CHECKING`."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Dotted names that this import may load: the module, and what is taken out of it, which may be one too."""
        return (self.module,) if self.name is None else (self.module, f"{self.module}.{self.name}")


@dataclass(frozen=True)
class Source:
    """One file: the dotted name it is imported by, and its syntax tree."""

    module: str
    is_package: bool
    tree: ast.Module

    @classmethod
    def of(cls, text: str, module: str, is_package: bool = False) -> Source:
        """Parse `text` as if it stood in the file of that module."""
        return cls(module, is_package, ast.parse(text))

    def imports(self) -> Iterator[Import]:
        """Every import statement, relative ones made absolute."""
        loaded = set(map(id, _at_load(self.tree.body)))
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, None, node.lineno, id(node) in loaded)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    yield Import(self._origin(node), alias.name, node.lineno, id(node) in loaded)

    def names(self) -> dict[str, str]:
        """What each imported name stands for: `{"np": "numpy", "load": "torch.load"}`."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    first = alias.name.split(".")[0]
                    found[alias.asname or first] = alias.name if alias.asname else first
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    found[alias.asname or alias.name] = f"{self._origin(node)}.{alias.name}"
        return found

    def functions(self) -> Iterator[Function]:
        """Every function and method, nested ones too."""
        yield from (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.module.split(".")
        base = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*base, *([node.module] if node.module else [])])


def dotted(node: ast.expr, names: dict[str, str]) -> str | None:
    """Full name of `a.b.c`, its first part looked up in `names`; None for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return None
    return ".".join([names[node.id], *reversed(parts)])


KERNEL_DECORATORS = ("kernel", "kernel_for")


def is_kernel(function: Function) -> bool:
    """True for a function compiled by the project's decorators, `@kernel`, `@kernel(...)` or `@kernel_for(...)`."""
    for decorator in function.decorator_list:
        named = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(named, ast.Name) and named.id in KERNEL_DECORATORS:
            return True
        if isinstance(named, ast.Attribute) and named.attr in KERNEL_DECORATORS:
            return True
    return False


@cache
def files() -> tuple[Path, ...]:
    """Every Python file of the project, sorted."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return tuple(sorted([*found, *ROOT.glob("*.py")]))


@cache
def sources() -> tuple[Source, ...]:
    """Every file of the packages, parsed."""
    return tuple(_read(path) for path in files() if path.relative_to(ROOT).parts[0] in PACKAGES)


def _read(path: Path) -> Source:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    is_package = parts[-1] == "__init__"
    return Source.of(path.read_text(), ".".join(parts[:-1] if is_package else parts), is_package)


def _at_load(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when a file is imported."""
    for node in body:
        yield node
        if isinstance(node, Function):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from _at_load(node.orelse)
            continue
        for part in ("body", "orelse", "finalbody"):
            yield from _at_load(getattr(node, part, []))
        for handler in getattr(node, "handlers", []):
            yield from _at_load(handler.body)
