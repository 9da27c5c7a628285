"""Command line -> frozen dataclass. Options, defaults and help come from the dataclass; a mistake is one line.

Accepted everywhere: `--total-steps` and `--total_steps`, `--x 3` and `--x=3`; whole numbers as `10M`, `2e6`, `250k`;
`true`/`false`, a bare `--greedy` and `--no-greedy`; `none`; a table as JSON, `[[2, 0], [0, 1]]`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import shutil
import sys
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from environments.errors import UsageError
from marl.config_checks import check_within

Options = TypeVar("Options")
SIZES = {"k": 10**3, "M": 10**6, "G": 10**9}
REGISTRY = ConstructorRegistry()
MOST_TOLD = 12
"""Options that are named where one is unknown and none is like it."""


def parse(cls: type[Options], argv: Sequence[str], prog: str, default: Options | None = None) -> Options:
    """What the arguments say. UsageError, in one line, on anything that cannot be used.

    `default` holds values other than the class's own defaults. `--help` prints and raises SystemExit(0).
    """
    said, shown = io.StringIO(), _Shown(sys.stdout)
    named = kinds(cls)
    arguments = normalise(argv, {name: kind is bool for name, kind in named.items()})
    extra: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(shown):
            parsed: Options = tyro.cli(
                cls,
                args=arguments,
                prog=prog,
                registry=REGISTRY,
                config=(tyro.conf.FlagConversionOff, tyro.conf.HelptextFromCommentsOff),
                **extra,
            )
            return parsed
    except SystemExit as end:
        if not end.code:
            print(in_columns(shown.getvalue(), shutil.get_terminal_size().columns), end="")
            raise
        raise UsageError(in_one_line(said.getvalue(), named, needed(cls)) + f"; see {prog} --help") from end
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error
    except UsageError as error:  # of a class that checks what it is given
        raise UsageError(as_typed(str(error), named)) from error


class _Shown(io.StringIO):
    """Keeps what is printed for a stream, and says what that would: whether it takes colours, and which letters."""

    def __init__(self, stream: typing.TextIO) -> None:
        super().__init__()
        self.stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

    def isatty(self) -> bool:
        return self.stream.isatty()


def in_columns(help: str, width: int) -> str:
    """Help whose text above the boxes, which tyro does not break, is as wide as they are and has single blank lines."""
    box = re.search(r"^(\x1b\[[\d;]*m)*[╭+]", help, re.MULTILINE)
    end = box.start() if box else len(help)
    lines: list[str] = []
    for line in help[:end].splitlines():
        if line.strip() or lines[-1:] != [""]:
            later = "" if lines else " " * len("usage: ")
            plain = "\x1b" not in line  # else a terminal breaks it: the usage, which has colours
            folded = textwrap.wrap(line, width, subsequent_indent=later, break_on_hyphens=False) if plain else [line]
            lines += folded or [""]
    return "".join(f"{line}\n" for line in lines) + help[end:]


def print_help(help: str) -> None:
    """Print help written by hand, as wide as the terminal: paragraphs are filled, what is said of a name in a list
    goes on below where it begins, and examples are left as they are."""
    width = shutil.get_terminal_size().columns
    parts = []
    for part in help.strip().split("\n\n"):
        listed = any(line.startswith(" ") for line in part.splitlines())
        lines = part.splitlines() if listed else [" ".join(part.split())]
        parts.append("\n".join(_broken(line, width, listed) for line in lines))
    print("\n\n".join(parts))


def _broken(line: str, width: int, listed: bool) -> str:
    name = re.match(r" +\S+(?: \S+)* {2,}", line)
    if listed and name is None:
        return line
    return textwrap.fill(line, width, subsequent_indent=" " * (name.end() if name else 0), break_on_hyphens=False)


def whole(text: str) -> int:
    """`10M`, `2e6`, `250k`, `1_000` as an int. ValueError on anything that is not a whole number."""
    size = SIZES.get(text[-1:], 1)
    digits = text[:-1] if size > 1 else text
    with contextlib.suppress(ValueError):
        return int(digits) * size
    with contextlib.suppress(ValueError):
        number = float(digits) * size
        if number.is_integer():
            return int(number)
    raise ValueError(f"{text!r} is not a whole number")


def truth(text: str) -> bool:
    """`true` or `false`, in any case. ValueError on anything else."""
    known = {"true": True, "false": False}
    if text.lower() not in known:
        raise ValueError(f"{text!r} is neither true nor false")
    return known[text.lower()]


def kinds(cls: Any, prefix: str = "") -> dict[str, Any]:
    """Every option of a dataclass, as `--name`, and its type."""
    found: dict[str, Any] = {}
    for name, kind, marks in _fields(cls):
        if _is_positional(marks):
            continue
        if dataclasses.is_dataclass(kind):
            flat = any(getattr(mark, "name", None) == "" for mark in marks)
            found |= kinds(kind, prefix if flat else f"{prefix}{name}.")
        else:
            typed = next((mark.name for mark in marks if getattr(mark, "name", None)), name)  # `from` is no Python name
            found[f"--{prefix}{typed}".replace("_", "-")] = kind
    return found


def needed(cls: Any) -> str:
    """The argument without a name that must be typed, as help shows it; empty where there is none."""
    names = [name for name, _, marks in _fields(cls) if _is_positional(marks)]
    return names[0].upper() if names else ""


def _fields(cls: Any) -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """Name, type and tyro's marks of every field of a dataclass."""
    hints = typing.get_type_hints(cls, include_extras=True)
    for each in dataclasses.fields(cls):
        hint = hints[each.name]
        marks = typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()
        yield each.name, typing.get_args(hint)[0] if marks else hint, marks


def _is_positional(marks: tuple[Any, ...]) -> bool:
    return tyro.conf.Positional in marks or any(mark is POSITIONAL for mark in marks)


POSITIONAL = typing.get_args(tyro.conf.Positional[int])[1]
"""How tyro marks an argument that has no name."""
REPEATED = typing.get_args(tyro.conf.UseAppendAction[int])[1]
"""How it marks an option that may be given several times."""


def normalise(argv: Sequence[str], known: dict[str, bool]) -> list[str]:
    """The same arguments with full names, switches with a value. UsageError names an unknown option's nearest."""
    result: list[str] = []
    for position, token in enumerate(argv):
        if not token.startswith("--") or token in ("--help", "--"):
            result.append(token)
            continue
        name, equals, value = token.partition("=")
        name = name.replace("_", "-")
        negated = f"--{name.removeprefix('--no-')}" if name.startswith("--no-") else ""
        if name not in known and known.get(negated) and not equals:
            result += [negated, "false"]
            continue
        if name not in known:
            raise UsageError(f"unknown option {token.partition('=')[0]}{_nearest_option(name, known)}")
        follows = argv[position + 1].lower() if position + 1 < len(argv) else ""
        result.append(f"{name}{equals}{value}")
        if known[name] and not equals and follows not in ("true", "false"):
            result.append("true")
    return result


def in_one_line(message: str, named: Mapping[str, Any] | None = None, argument: str = "") -> str:
    """What tyro says in a box of several lines, without the box (drawn or in ASCII), help text and details.

    `named` are the options with their types, and `argument` is the one without a name, which tyro calls by its type.
    """
    lines = [line.strip("│ ") for line in message.strip().splitlines()]
    head = 2 if len(lines) > 1 and set(lines[1]) == {"-"} else 1  # without a box: the title, and a line of dashes
    first: list[str] = []
    for line in lines[head:]:
        if line.startswith(("───", "---", "╰", "Got errors")):
            break
        first.append(line)
    text = " ".join(" ".join(first).split()).rstrip(".")
    found = re.match(r"Error parsing (\S+): no type matching .* could be instantiated from \[(.*)\]", text)
    if found:
        known = _choices((named or {}).get(found[1]))
        return f"{found[1]} cannot be {found[2]}" + (_nearest(found[2].strip("'"), known) if known else "")
    choice = re.match(r"invalid choice '(.*?)' for argument '(.*?)'. Expected one of \((.*)\)", text)
    if choice:
        known = re.findall(r"'([^']*)'", choice[3])
        said = choice[2] if choice[2].startswith("--") else argument or choice[2].upper()
        return f"{said} cannot be {choice[1]!r}{_nearest(choice[1], known)}"
    unread = re.match(r"Error parsing (\S+?):? Could not find valid parse for arguments: \[(.*)\]", text)
    if unread:
        return f"{unread[1]} cannot be {unread[2]}"
    valueless = re.match(r"Missing value for argument '(\S+)'", text)
    if valueless:
        return f"{valueless[1]} needs a value"
    if text.startswith("Unrecognized options: "):
        return f"nothing is known of {text.removeprefix('Unrecognized options: ')!r}"
    missing = re.match(r"Missing from .*?: (\S+)", text)
    if missing:
        return f"{missing[1] if missing[1].startswith('--') else argument or missing[1]} is missing"
    return text.removeprefix("Error parsing ") or "the command cannot be understood"


def check_option(name: str, value: float, low: float, high: float) -> None:
    """UsageError, of the option as it is typed, unless `low <= value <= high`; `name` is that of the field."""
    check_within(f"--{name.replace('_', '-')}", value, low, high)


def as_typed(message: str, named: Iterable[str]) -> str:
    """What a dataclass says of a field, `total_steps must be ...`, of the option: `--total-steps must be ...`."""
    field, must, rest = message.partition(" must be ")
    typed = [name for name in named if name.lstrip("-").rpartition(".")[2] == field.replace("_", "-")]
    return f"{typed[0]}{must}{rest}" if len(typed) == 1 else message


def _choices(kind: Any) -> list[str]:
    """The words that a type allows: those of a Literal, also where it is one of several types."""
    if typing.get_origin(kind) is typing.Literal:
        return [str(value) for value in typing.get_args(kind)]
    return [word for part in typing.get_args(kind) for word in _choices(part)]


def _nearest(name: str, known: Iterable[str]) -> str:
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.65) or [
        each for each in names if name in each.split("-")
    ]
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(names)}"


def _nearest_option(name: str, known: Iterable[str]) -> str:
    """The option like that, of those that begin as it does (`--env.`); all of these where none is and they are few."""
    head, dot, tail = name.rpartition(".")
    tails = [each.removeprefix(head + dot) for each in known if each.rpartition(".")[:2] == (head, dot)]
    names = {each: f"{head}{dot}{each}" for each in tails} or {each.lstrip("-"): each for each in known}
    for sought in (tail,) if tails else (name, tail):  # a dot may be a slip, or what comes before it one too many
        told = _nearest(sought.lstrip("-"), names)
        if told.startswith("; did"):
            near = told.removeprefix("; did you mean ").removesuffix("?")
            return f"; did you mean {names[near]}?"
    return f"; known: {', '.join(sorted(names.values()))}" if len(names) <= MOST_TOLD else "; --help lists all"


@REGISTRY.struct_rule
def _told_rule(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Dataclasses as tyro reads them, but help in one paragraph and arguments without a name called by their names."""
    if not dataclasses.is_dataclass(info.type) or _inside:
        return None
    _inside.append(info.type)
    try:
        spec = ConstructorRegistry.get_struct_spec(info)
    finally:
        _inside.pop()
    if not isinstance(spec, StructConstructorSpec):
        return None
    late = {
        each.name for base in info.type.__mro__[1:] if vars(base).get("TOLD_LAST") for each in dataclasses.fields(base)
    }
    fields = sorted(spec.fields, key=lambda each: each.name in late)
    return dataclasses.replace(spec, fields=tuple(_told(each) for each in fields))


_inside: list[object] = []
"""What tyro's own rule is being asked for."""


def _told(option: StructFieldSpec) -> StructFieldSpec:
    """An option with help in one paragraph, where tyro breaks lines as the source does, and arguments by their name."""
    help, kind = option.helptext, option.type

    def sentence() -> str | None:  # read from the source only where help is printed
        return " ".join(((help() if callable(help) else help) or "").split()) or None

    marks = typing.get_args(kind)[1:] if typing.get_origin(kind) is typing.Annotated else ()
    bare = typing.get_args(kind)[0] if marks else kind
    several = typing.get_origin(bare) is tuple
    looks: dict[str, Any] = {}
    if _is_positional(marks) and typing.get_origin(bare) is not typing.Literal:
        name = f"{option.name.upper()} ..." if several else option.name.upper()
        looks["metavar"] = f"[{name}]" if option.default == () else name
        if several and option.default != ():
            looks["help_behavior_hint"] = "(required)"
    if several and option.default == () and REPEATED not in marks:
        looks["help_behavior_hint"] = ""
    made: Any = typing.Annotated[kind, tyro.conf.arg(**looks)] if looks else kind
    return dataclasses.replace(option, type=made, helptext=sentence)


@REGISTRY.primitive_rule
def _whole_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda texts: whole(texts[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


@REGISTRY.primitive_rule
def _truth_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[bool] | None:
    if info.type is not bool:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="true|false",
        instance_from_str=lambda texts: truth(texts[0]),
        is_instance=lambda value: isinstance(value, bool),
        str_from_instance=lambda value: [str(value).lower()],
    )


@REGISTRY.primitive_rule
def _json_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """`Sequence[object]` is lists in lists to any depth; whoever has the option says what may be in them."""
    if info.type != Sequence[object]:
        return None

    def read(texts: list[str]) -> Any:
        try:
            return json.loads(texts[0])
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON such as [[2, 0], [0, 1]] ({error})") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, list | tuple),
        str_from_instance=lambda value: [json.dumps(value)],
    )


@REGISTRY.primitive_rule
def _none_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[None] | None:
    if info.type is not types.NoneType:
        return None

    def read(texts: list[str]) -> None:
        if texts[0].lower() not in ("none", "null"):
            raise ValueError(f"{texts[0]!r} is not none")

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="none",
        instance_from_str=read,
        is_instance=lambda value: value is None,
        str_from_instance=lambda value: ["none"],
    )
