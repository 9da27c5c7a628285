"""What throws and opponents are called. Imports nothing, so that pictures need no compiler."""

from __future__ import annotations

THROWS = ("rock", "paper", "scissors")

BOTS = (
    "rock",
    "paper",
    "scissors",
    "random",
    "biased",
    "rotate",
    "pi",
    "debruijn",
    "copy-last",
    "beat-last",
    "frequency",
    "markov",
    "switching",
    "seldom-repeat",
    "foxtrot",
    "flat",
    "anti-flat",
)
"""Names, in the order of the numbers that kernels know them by."""

PUBLISHED = {
    "rock": "rockbot",
    "random": "randbot",
    "biased": "r226bot",
    "rotate": "rotatebot",
    "pi": "pibot",
    "beat-last": "copybot",
    "frequency": "freqbot2",
    "switching": "switchbot",
    "seldom-repeat": "switchalot",
    "foxtrot": "foxtrotbot",
    "flat": "flatbot3",
    "anti-flat": "antiflatbot",
}
"""Ours -> the tournament bot of the same rule. `debruijn` throws one cycle over and over, debruijn81 many in turn."""
