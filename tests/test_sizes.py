"""Files and functions short enough to be read in one go."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.source import ROOT, Source, files, is_kernel, sources

FILE_LINES = 500
FUNCTION_LINES = 60
KERNEL_LINES = 120
"""A kernel holds the rules of a game, which read like a page of a textbook."""

ALLOWED: dict[str, int] = {}
"""Exceptions, `{"path" or "path:function": lines}`: kept empty; whoever adds one says why beside it."""


def too_long(text: str, path: str) -> Iterator[str]:
    """What in a file is longer than its limit, one line each."""
    lines = len(text.splitlines())
    if lines > ALLOWED.get(path, FILE_LINES):
        yield f"{path}: {lines} lines, at most {FILE_LINES}"
    for function in Source.of(text, "measured").functions():
        assert function.end_lineno is not None
        lines = function.end_lineno - function.lineno + 1
        limit = KERNEL_LINES if is_kernel(function) else FUNCTION_LINES
        if lines > ALLOWED.get(f"{path}:{function.name}", limit):
            yield f"{path}:{function.lineno} {function.name}: {lines} lines, at most {limit}"


def unannotated(source: Source) -> Iterator[str]:
    """Functions, other than kernels, with an argument or a result that has no annotation."""
    for function in source.functions():
        if is_kernel(function):
            continue
        listed = function.args
        arguments = [*listed.posonlyargs, *listed.args, *listed.kwonlyargs]
        arguments += [extra for extra in (listed.vararg, listed.kwarg) if extra is not None]
        bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        if bare or function.returns is None:
            yield f"{source.module}:{function.lineno} {function.name}: {', '.join(bare) or 'result'} not annotated"


def test_files_and_functions_are_short() -> None:
    found = [line for path in files() for line in too_long(path.read_text(), str(path.relative_to(ROOT)))]
    assert not found, "\n" + "\n".join(found)


def test_only_kernels_go_without_annotations() -> None:
    found = [line for source in sources() for line in unannotated(source)]
    assert not found, "\n" + "\n".join(found)


def _function(lines: int, decorator: str = "") -> str:
    return f"{decorator}\ndef planted():\n" + "    pass\n" * (lines - 1)


def test_a_long_file_is_found() -> None:
    assert not list(too_long("x = 1\n" * FILE_LINES, "planted.py"))
    assert list(too_long("x = 1\n" * (FILE_LINES + 1), "planted.py")) == ["planted.py: 501 lines, at most 500"]


def test_a_long_function_is_found() -> None:
    assert not list(too_long(_function(FUNCTION_LINES), "planted.py"))
    assert list(too_long(_function(FUNCTION_LINES + 1), "planted.py")) == ["planted.py:2 planted: 61 lines, at most 60"]
    method = "class Planted:\n" + "".join(f"    {line}\n" for line in _function(FUNCTION_LINES + 1).splitlines())
    assert len(list(too_long(method, "planted.py"))) == 1


def test_a_kernel_may_be_twice_as_long() -> None:
    for decorator in ("@kernel", "@kernel(entry=True)", "@compile.kernel"):
        assert not list(too_long(_function(KERNEL_LINES, decorator), "planted.py"))
        assert len(list(too_long(_function(KERNEL_LINES + 1, decorator), "planted.py"))) == 1
    assert len(list(too_long(_function(KERNEL_LINES, "@cache"), "planted.py"))) == 1


def test_a_missing_annotation_is_found() -> None:
    def find(text: str) -> list[str]:
        return list(unannotated(Source.of(text, "planted")))

    assert not find("def f(a: int, *, b: str = '') -> None: ...\nclass C:\n    def g(self) -> int: ...")
    assert not find("@kernel\ndef f(state, params): ...")
    assert find("def f(a) -> None: ...") == ["planted:1 f: a not annotated"]
    assert find("def f(a: int): ...") == ["planted:1 f: result not annotated"]
    assert find("def f(*rest) -> None: ...") == ["planted:1 f: rest not annotated"]


def test_every_file_is_looked_at() -> None:
    paths = {str(path.relative_to(ROOT)) for path in files()}
    assert {"setup.py", "environments/vector.py", "marl/policy.py", "tests/test_sizes.py"} <= paths
    assert all(isinstance(source.tree, ast.Module) for source in sources())


def test_every_folder_of_tests_is_a_package() -> None:
    """Else pytest takes two files of one name for the same module."""
    tests = [path for path in files() if path.relative_to(ROOT).parts[0] == "tests"]
    missing = {str(path.parent.relative_to(ROOT)) for path in tests if not (path.parent / "__init__.py").exists()}
    assert not missing
