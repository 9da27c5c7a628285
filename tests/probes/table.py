"""Which probe asks what, and of whom it cannot be asked: the table that `results/probes.py` fills."""

from __future__ import annotations

import os

ROWS: dict[str, str] = {
    "P01": "losses and targets: constant pay",
    "P02": "what is seen reaches the critic",
    "P03": "discount",
    "P04": "the gradient's direction, the weight of entropy",
    "P05": "what is seen decides what is done",
    "P06": "a time limit bootstraps",
    "P07": "a termination does not",
    "P08": "episodes do not run into one another",
    "P09": "both ends at once are a termination",
    "P10": "death, own reward",
    "P11": "death, the team's reward",
    "P12": "one payoff for both",
    "P12b": "two equal conventions",
    "P13": "agents that share parameters know who they are",
    "P14": "a central critic sees the state",
    "P15": "actors do not",
    "P16": "masks in acting and in targets",
    "P17": "forced moves teach actors nothing",
    "P18": "memory",
    "P19": "memory ends with the episode",
    "P20": "as many agents as are there",
    "P21": "own reward, sum, mean",
    "P22": "n-step targets",
    "P23": "density of squashed actions",
    "P24": "rewards times 1000",
    "P25": "ratings of a cycle, its equilibrium",
    "P26": "seats",
    "P27": "what is lost on another's turn",
    "P28": "sampled and greedy play",
    "P29": "prisoners: alone and as a team",
    "P30": "zero sum",
}
TESTS: dict[str, tuple[str, str]] = {
    "test_what_was_seen_is_remembered": ("P18", "probe"),
    "test_who_remembers_nothing_can_only_guess": ("P18", "control"),
    "test_nothing_is_remembered_from_one_episode_to_the_next": ("P19", "probe"),
    "test_a_memory_that_leaks_is_found": ("P19", "control"),
}
"""Tests that are no question of `asking` -> their row and what they are: a control passes where a probe fails."""

LEARNERS: dict[str, tuple[str, ...]] = {
    "ppo": ("ippo", "mappo", "happo", "dpo", "mdpo", "fixpo", "vtrace", "nstep"),
    "trpo": ("hatrpo",),
    "a2c": ("ia2c", "maa2c"),
    "sac": ("isac", "masac", "hasac"),
    "ddpg": ("maddpg", "matd3", "haddpg", "hatd3"),
    "q": ("iql", "vdn", "qmix"),
}
"""Core -> learners (mdpo, fixpo: IPPO with those trust regions; vtrace, nstep: MAPPO with those returns)."""
STANDS: dict[str, tuple[str, ...]] = {
    "ppo": ("ippo", "mappo", "happo"),
    "trpo": ("hatrpo",),
    "a2c": (),
    "sac": ("hasac",),
    "ddpg": ("hatd3",),
    "q": ("qmix",),
}
"""Core -> who is asked in CI (where none of them can be: the first who can); with `PROBES=all` everybody is."""
WHOLE = os.environ.get("PROBES") == "all"

ROLLOUTS = ("ppo", "trpo", "a2c")
NO_TEMPERATURE = "no weight on entropy that stays"
BOXES = "its actions are continuous: no masks"
APART = "agents have parameters of their own"
ONE_CORE = "a setting of a learner that is asked it"
REPLAYED = dict.fromkeys(("sac", "ddpg"), "feed-forward only")
LOCAL = "its critic is local"
TEAMS: dict[str, str] = dict.fromkeys(("vdn", "qmix"), "it learns from a team's reward alone")
NEVER: dict[str, dict[str, str]] = {
    "P01": TEAMS,
    "P10": TEAMS,
    "P30": TEAMS,
    "P12": {"isac": "a local critic sees no joint optimum"},
    "P12b": {
        **dict.fromkeys((*ROLLOUTS, "ddpg", "q"), NO_TEMPERATURE),
        "isac": "a local critic sees no joint optimum",
    },
    "P13": {"hasac": APART, "ddpg": APART},
    "P14": {
        **dict.fromkeys(("ippo", "ia2c", "dpo", "mdpo", "fixpo", "isac", "iql"), LOCAL),
        "vdn": "a sum sees no state",
    },
    "P16": {"ddpg": BOXES},
    "P17": {"ddpg": BOXES, "q": "no actor, no entropy"},
    "P18": {**REPLAYED, **dict.fromkeys(("mdpo", "fixpo", "vtrace", "nstep"), ONE_CORE)},
    "P19": {
        **REPLAYED,
        **dict.fromkeys(ROLLOUTS, "the collector's, which all learners share: asked of mappo"),
        "q": "the collector's and the replay buffer's, which they share: asked of qmix",
    },
    "P22": dict.fromkeys(ROLLOUTS, "nstep is asked P07 with returns of eight steps: tests/marl/test_corrected.py"),
    "P23": dict.fromkeys((*ROLLOUTS, "ddpg", "q"), "no squashed density is learnt from"),
    "P24": {"maa2c": "advantages as they are: the size of rewards is meant to matter"},
    "P25": dict.fromkeys(LEARNERS, "of the league: tests/league"),
    "P26": dict.fromkeys(LEARNERS, "of the league: tests/league"),
    "P28": {"ddpg": "deterministic: there is one way to play"},
}
"""Row -> core or learner -> why it is not asked."""


def core_of(learner: str) -> str:
    """The core that a learner belongs to."""
    return next(core for core, learners in LEARNERS.items() if learner in learners)


def reason(row: str, core: str, learner: str) -> str | None:
    """Why a probe is not asked of a learner, or None where it should be."""
    said = NEVER.get(row, {})
    return said.get(learner, said.get(core))
