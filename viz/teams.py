"""Which colour a team has, everywhere the same."""

from __future__ import annotations

from environments.spec import EnvSpec
from viz.scene import RED, TEAM_COLORS, Color

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
