"""Settings of a league, as a frozen dataclass. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from marl.config_checks import (
    check_above,
    check_choices,
    check_counts,
    check_device,
    check_range,
    check_within,
    require,
)

PlanName = Literal["self-play", "fictitious", "pfsp", "alphastar", "psro"]
MetaName = Literal["nash", "prd", "regret-matching", "alpha-rank", "uniform"]


@dataclass(frozen=True)
class LeagueConfig:
    """Settings of a league, whatever its learners."""

    plan: PlanName = "self-play"
    """Who trains against whom: self-play (mostly the latest); fictitious (all of the past alike); pfsp (those of the
    past that are hardest to beat); alphastar (a main learner and exploiters of it and of all); psro (best responses to
    a mixture of the past, made by a meta-solver)."""
    seed: int = 0
    """Seed that everything random in the league comes from; 0 to 2^63 - 1."""
    total_steps: int = 5_000_000
    """Environment steps of the whole league, all learners together; at least 1."""
    slice_steps: int = 50_000
    """Environment steps after which the next learner's turn comes; rounded up to whole rollouts; at least 1."""
    snapshot_steps: int = 250_000
    """Environment steps of a learner between two snapshots, at least; exploiters that do not win take twice as many;
    at least 1."""
    mains: int = 1
    """Main learners of each kind of team; 1 to 100."""
    main_exploiters: int = 1
    """In alphastar, learners of each kind that look for weaknesses of the mains; 0 to 100."""
    league_exploiters: int = 1
    """In alphastar, learners of each kind that look for weaknesses of the whole league; 0 to 100."""
    latest: float = 0.8
    """In self-play, share of the opponents that are the present learner; the others are its snapshots; 0 to 1."""
    weighting: Literal["hard", "variance", "linear", "capped"] = "hard"
    """In pfsp, what an opponent counts by the chance x of beating it: (1-x)^2, x(1-x), 1-x, or min(1/2, 1-x)."""
    meta: MetaName = "nash"
    """In psro, the meta-solver: from what snapshots earn against one another to a mixture of them."""
    window: int = 200
    """Latest games against an opponent that a win rate is of; at least 1."""
    games: int = 20
    """Games between any two snapshots, by which they are rated; in psro the payoff is their mean; even, 0 to 1M."""
    met: int = 16
    """Earlier players whom a new snapshot meets in these games, the newest and others evenly over the past; in psro
    all of them; at least 1."""
    record: int = 0
    """Rated games of every two that are kept as replays; 0 to 1M."""
    bot_share: float = 0.0
    """Share of the opponents in training that are players given by --player; 0 to 1."""
    mixed_teams: float = 0.0
    """Share of the episodes in which others, drawn as opponents are, play some of the agents of the learner's own team;
    not in psro; 0 to 1."""
    cache: int = 64
    """Frozen policies of each kind of team that a learner keeps in memory; at least 1."""
    num_envs: int = 128
    """Copies of the environment that a learner steps at once; 1 to 1048576."""
    threads: int = 2
    """Processor threads; 1 to 1024. Leagues repeat bit for bit only with the same number."""
    device: str = "cpu"
    """Where gradients are computed, by torch: cpu, cuda or cuda:N. Policies act on the processor all the same."""
    engine: Literal["auto", "fused", "torch"] = "auto"
    """How networks are computed: by compiled functions where there are any, by them or not at all, or by torch."""
    reward: Literal["agent", "team_sum", "team_mean"] | None = None
    """Each agent its own reward, or the team's sum or mean for all its members; none: as the scenario says."""
    max_minutes: float | None = None
    """Minutes after which the league stops cleanly, to be resumed, or none; above 0."""

    def __post_init__(self) -> None:
        check_choices(self)
        check_counts(self, "total_steps", "slice_steps", "snapshot_steps", "window", "met", "cache")
        check_range(self, 0.0, 1.0, "latest", "bot_share", "mixed_teams")
        check_above(self, 0.0, "max_minutes")
        check_device(self)
        for name, low, high in (
            ("seed", 0, 2**63 - 1),
            ("mains", 1, 100),
            ("main_exploiters", 0, 100),
            ("league_exploiters", 0, 100),
            ("games", 0, 10**6),
            ("record", 0, 10**6),
            ("num_envs", 1, 2**20),
            ("threads", 1, 1024),
        ):
            check_within(name, getattr(self, name), low, high)
        require(self.games % 2 == 0, f"games must be even, for they are played with sides swapped; not {self.games}")
        require(self.plan != "psro" or self.games > 0, "psro measures payoffs: set --games to 2 or more")
        whole = "in psro whole teams meet: leave --mixed-teams out, or take --plan fictitious"
        require(self.plan != "psro" or not self.mixed_teams, whole)
        require(self.plan != "psro" or self.mains == 1, "psro has one oracle for each kind of team: leave --mains out")
