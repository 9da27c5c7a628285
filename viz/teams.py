"""Which colour a team has, everywhere the same, and who plays for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from environments.replay import Replay
from environments.spec import EnvSpec
from viz.scene import RED, TEAM_COLORS, Color

ABOUT = ("algorithm", "scenario", "seed", "player")
"""What a header may tell of a player beside its name, fingerprint and steps."""
PURSUERS = ("adversary", "eve", "raider")
"""Teams that are red wherever they play."""


def team_color(spec: EnvSpec, team: int) -> Color:
    """Colour of a column of `spec.team_names`."""
    return team_colors(spec)[team % spec.num_teams]


def team_colors(spec: EnvSpec) -> tuple[Color, ...]:
    """One colour per column of `spec.team_names`; they repeat where there are many."""
    names = spec.team_names
    red_is_taken = any(name in PURSUERS for name in names)
    free = [color for color in TEAM_COLORS if not (red_is_taken and color == RED)]
    chosen = []
    for name in names:
        if name in PURSUERS:
            chosen.append(RED)
        else:
            chosen.append(free[len([c for c in chosen if c != RED or not red_is_taken]) % len(free)])
    return tuple(chosen)


def players(replay: Replay) -> tuple[Mapping[str, Any], ...]:
    """What a replay's header says of who plays for each of `spec.team_names`; empty where it says nothing."""
    listed = replay.header.get("policies")
    named = listed if isinstance(listed, Mapping) else {}
    found = []
    for (team, identity), kind in zip(replay.policies.items(), replay.spec.team_kinds, strict=True):
        said = named.get(team, named.get(kind))
        extra = {key: said[key] for key in ABOUT if _is_plain(said.get(key))} if isinstance(said, Mapping) else {}
        known = {"name": identity.name, "sha256": identity.sha256, "steps": identity.steps}
        found.append({key: value for key, value in (extra | known).items() if value not in (None, "")})
    return tuple(found)


def _is_plain(value: Any) -> bool:
    """True for a word or a whole number that may be shown: a header may come from anywhere."""
    return type(value) is int or (isinstance(value, str) and value.isprintable() and len(value) <= 100)


def policy_names(replay: Replay) -> tuple[str, ...]:
    """Who plays for each of `spec.team_names` in a few words: `mappo 10M`, `bot:roshambo/rockbot`, `random`."""
    return tuple(_short_name(player) for player in players(replay))


def _short_name(player: Mapping[str, Any]) -> str:
    text, steps = str(player.get("name", "")), player.get("steps")
    if "algorithm" in player:
        return f"{player['algorithm']} {amount(steps)}" if steps else str(player["algorithm"])
    return PurePath(text).stem if text.endswith(".safetensors") else text


def amount(number: int) -> str:
    """A count in few letters: `950`, `16k`, `10M`."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return str(number)
