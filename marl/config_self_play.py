"""Settings of self-play, a part of those of a training run. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from marl.config_checks import check_range, require


@dataclass(frozen=True)
class SelfPlayConfig:
    """Who plays against a learner that has several teams in one copy."""

    TOLD_LAST: ClassVar[bool] = True
    """Help tells these options after those of the run that has them."""
    self_play: bool = False
    """One learner plays every team of equal spaces, and meets its past and random play besides itself."""
    self_play_opponents: float = 0.5
    """Share of self-play's episodes in which one team only is the learner's, and others play the rest; 0 to 1."""
    self_play_random: float = 0.5
    """Share of these others that play at random; the rest are past states of the learner; 0 to 1."""
    self_play_errors: float = 0.5
    """Chance that a past state's action is a random one, so that its mistakes must be answered too; 0 to 1."""
    self_play_every: int = 25
    """Updates between two past states that are kept; at least 1."""
    self_play_kept: int = 8
    """Past states that are kept, the newest; 1 to 1000."""

    def check_self_play(self) -> None:
        """UsageError where a value is out of range, or is set although there is no self-play."""
        check_range(self, 0.0, 1.0, "self_play_opponents", "self_play_random", "self_play_errors")
        require(self.self_play_every >= 1, f"self_play_every must be at least 1, not {self.self_play_every}")
        require(1 <= self.self_play_kept <= 1000, f"self_play_kept must be 1 to 1000, not {self.self_play_kept}")
        if not self.self_play:
            for name in ("opponents", "random", "errors", "every", "kept"):
                usual = getattr(SelfPlayConfig, f"self_play_{name}")
                require(getattr(self, f"self_play_{name}") == usual, f"--self-play-{name} needs --self-play")
