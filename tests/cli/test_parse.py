"""Arguments: what is accepted, and one line for what is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from environments.errors import UsageError
from marl.cli import parse


@dataclass(frozen=True)
class Inner:
    clip: float = 0.2
    """A number."""
    widths: tuple[int, ...] = (64,)
    """Numbers."""


@dataclass(frozen=True)
class Typed:
    place: tyro.conf.Positional[str]
    """A place."""
    inner: Annotated[Inner, tyro.conf.arg(name="")] = Inner()
    env: Inner = Inner()
    total_steps: int = 10
    """A count."""
    greedy: bool = False
    """A switch."""
    anneal: bool = True
    """A switch that is on."""
    limit: float | None = None
    """A number or none."""
    kind: Literal["agent", "team_sum"] | None = None
    """A choice or none."""
    out: Path | None = None
    """A file or none."""


def parsed(*words: str) -> Typed:
    return parse.parse(Typed, ["here", *words], "marl test")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("10M", 10**7),
        ("2e6", 2 * 10**6),
        ("250k", 250_000),
        ("1_000", 1000),
        ("-3", -3),
        ("1.5M", 1_500_000),
        ("2G", 2 * 10**9),
    ],
)
def test_whole_numbers(text: str, number: int) -> None:
    assert parse.whole(text) == number
    assert type(parse.whole(text)) is int


@pytest.mark.parametrize("text", ["1.5", "k", "", "10m", "1e-3", "ten", "inf", "nan"])
def test_not_whole_numbers(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        parse.whole(text)


def test_every_way_of_writing() -> None:
    assert parsed("--total-steps", "10M").total_steps == parsed("--total_steps=10M").total_steps == 10**7
    assert parsed("--greedy").greedy and parsed("--greedy", "TRUE").greedy and not parsed("--greedy=false").greedy
    assert not parsed("--no-anneal").anneal and parsed("--greedy", "--total-steps", "3").total_steps == 3
    assert parsed("--clip", "1e-4").inner.clip == 1e-4
    assert parsed("--env.clip", "0.5").env.clip == 0.5
    assert parsed("--widths", "32", "16").inner.widths == (32, 16)
    assert parsed("--limit", "3").limit == 3.0 and parsed("--limit", "none").limit is None
    assert parsed("--kind", "team_sum").kind == "team_sum" and parsed("--kind", "None").kind is None
    assert parsed("--out", "none").out is None and parsed("--out", "a/b").out == Path("a/b")
    other = parse.parse(Typed, ["there"], "marl test", default=Typed("here", total_steps=5))
    assert (other.place, other.total_steps) == ("there", 5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--total-step", "3"], r"^unknown option --total-step; did you mean --total-steps\?$"),
        (["--env.clp", "3"], r"^unknown option --env.clp; did you mean --env.clip\?$"),
        (["--zzz"], r"^unknown option --zzz; known: --anneal, --clip"),
        (["--total-steps", "1.5"], r"^--total-steps: '1.5' is not a whole number; see marl test --help$"),
        (["--total-steps", "1e999"], r"^--total-steps: .*; see marl test --help$"),
        (["--clip", "x"], r"^--clip: could not convert string to float: 'x'; see marl test --help$"),
        (["--widths", "64x64"], r"^--widths cannot be '64x64'; see marl test --help$"),
        (["--env.width", "3"], r"^unknown option --env.width; did you mean --env.widths\?$"),
        (["--steps", "3"], r"^unknown option --steps; did you mean --total-steps\?$"),
        (["--limit", "x"], r"^--limit cannot be 'x'; see marl test --help$"),
        (["--kind", "team_su"], r"^--kind cannot be 'team_su'; did you mean team_sum\?; see marl test --help$"),
        (["--kind", "7"], r"^--kind cannot be '7'; known: agent, team_sum; see marl test --help$"),
        (["--total-steps", "ten"], r"^--total-steps: 'ten' is not a whole number; see marl test --help$"),
        (["--total-steps"], r"^--total-steps needs a value; see marl test --help$"),
        (["there"], r"^nothing is known of 'there'; see marl test --help$"),
        (["--no-clip"], r"^unknown option --no-clip"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as found:
        parsed(*words)
    assert "\n" not in str(found.value)
    assert "│" not in str(found.value)


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(UsageError, match=r"^PLACE is missing; see marl test --help$"):
        parse.parse(Typed, [], "marl test")


def test_messages_without_a_box_are_understood_too() -> None:
    dashes = "-" * 60
    plain = f"Invalid choice\n{dashes}\ninvalid choice 'x' for argument\n'what'.\n{dashes}\nFor full helptext, run it\n"
    assert parse.in_one_line(plain) == "invalid choice 'x' for argument 'what'"


@dataclass(frozen=True)
class Tabled:
    """A table of anything."""

    table: Sequence[object] = ((1, 2), (3, 4))
    """Any lists."""


def test_a_table_is_typed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    def table(*words: str) -> object:
        return parse.parse(Tabled, words, "marl test").table

    assert table() == ((1, 2), (3, 4))
    assert table("--table", "[[1, -2.5], [[3]]]") == table("--table=[[1,-2.5],[[3]]]") == [[1, -2.5], [[3]]]
    for bad in ("[[1, 2", "x", "[" * 5000):
        with pytest.raises(UsageError, match=r"^--table: not JSON such as \[\[2, 0\], \[0, 1\]\] \(.*; see marl test"):
            table("--table", bad)
    with pytest.raises(SystemExit):
        table("--help")
    assert "--table JSON" in capsys.readouterr().out


@dataclass(frozen=True)
class Told:
    """What help is made of."""

    met: tyro.conf.Positional[tuple[str, ...]]
    """Those who meet."""
    team: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One line, which is so long that it goes on in
    the next; and another.

    And a paragraph."""


def test_help_is_of_paragraphs_and_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse.parse(Told, ["--help"], "marl test")
    told = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert "MET ... Those who meet. (required)" in told and "usage: marl test [-h] MET ... [--team STR]" in told
    assert "it goes on in the next; and another. And a paragraph. (repeatable)" in told
    assert parse.parse(Told, ["a", "b", "--team", "c"], "marl test") == Told(("a", "b"), ("c",))
