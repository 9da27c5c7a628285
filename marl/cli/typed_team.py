"""How a team is typed on a command line: `--team good=ippo,learning_rate=1e-4`, `--team good=bot:NAME`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import environments
from environments.errors import UsageError, nearest
from marl import config as settings
from marl.cli import parse, players
from marl.cli.plan import SHARED_BY_RUN, Learns, Plan
from marl.config import ALGORITHMS
from marl.config_checks import require


def parse_team(text: str, plan: Plan) -> tuple[str, Learns | str]:
    """`NAME=ALGORITHM|PLAYER`, an algorithm with settings after commas: `good=ippo,learning_rate=1e-4`."""
    name, equals, what = text.partition("=")
    if not equals or not what:
        raise UsageError(f"--team takes NAME=ALGORITHM or NAME=PLAYER, not {text!r}")
    if name not in plan.teams:
        raise UsageError(f"{plan.scenario} has no team {name!r}{nearest(name, plan.teams)}")
    head, *rest = split_outside_brackets(what)
    if head not in ALGORITHMS:
        if rest:
            raise UsageError(f"settings follow an algorithm, and {head!r} is none{nearest(head, ALGORITHMS)}")
        if players.is_file(head) and not head.startswith(players.LEAGUE) and not Path(head).exists():
            known = (*ALGORITHMS, players.RANDOM, *(f"{players.BOT}{name}" for name in environments.bots()))
            hint = ": there is no such file" if "/" in head or Path(head).suffix else nearest(head, known)
            raise UsageError(f"{head!r} is no algorithm, run, policy file or bot{hint}")
        return name, head
    check_remembers(ALGORITHMS[head], rest)
    base = ALGORITHMS[head].config
    shared = plan.learners[min(plan.learners)].config if plan.learners else base
    base = replace(base, **{each: getattr(shared, each) for each in SHARED_BY_RUN})
    return name, Learns(head, with_texts(base, rest))


def with_texts(config: settings.Settings, texts: list[str]) -> settings.Settings:
    """A config with settings written as `name=value`. UsageError in one line on anything that cannot be used."""
    words: list[str] = []
    known = [field.name for field in fields(config)]
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"a team's settings are NAME=VALUE, not {text!r}")
        if name.replace("-", "_") not in known:
            raise UsageError(f"unknown setting {name!r}{nearest(name, known)}")
        words += [f"--{name}", *value.strip("[]").replace(",", " ").split()]
    return parse.parse(type(config), words, "marl train ALGORITHM SCENARIO", default=config)


def check_remembers(algorithm: settings.Algorithm, words: Sequence[str]) -> None:
    """UsageError where settings of layers that remember are typed for a learner that has none."""
    typed = {word.lstrip("-").replace("-", "_").partition("=")[0] for word in words}
    able = ", ".join(known.name for known in ALGORITHMS.values() if known.recurrent)
    asked = not algorithm.recurrent and typed & {"recurrent", "recurrent_layers", "chunk_length"}
    require(not asked, f"{algorithm.name} is feed-forward only; networks that remember have {able}")


def split_outside_brackets(text: str) -> list[str]:
    """Parts between commas, but not those inside brackets: `ippo,hidden=[32,32]` has two."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
