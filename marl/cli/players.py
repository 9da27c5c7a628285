"""PLAYER: who may sit in a team's seats without learning. A run's or a file's policy, or random play.

Names are checked without torch, so that a mistake is answered at once; torch is imported when players are loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from environments.errors import RefusedFile, UsageError
from environments.spec import EnvSpec
from marl import files, runs
from marl.policy_spec import PolicySpec, check_fits, read_spec

if TYPE_CHECKING:
    from marl.policy import Actor

RANDOM = "random"


@dataclass(frozen=True)
class Player:
    """A player that has been checked to fit its kind of team."""

    text: str
    """`random`, or the policy's file."""
    about: PolicySpec | None = None
    """What the policy says of itself; None for random play."""

    @property
    def file(self) -> Path | None:
        """The policy's file; None for random play."""
        return None if self.about is None else Path(self.text)

    def to_json(self) -> dict[str, object]:
        """What results and replays say of the player."""
        if self.about is None:
            return {"player": RANDOM}
        return {"player": self.text, "sha256": files.sha256(Path(self.text)), **dict(self.about.about)}


def find(text: str, env: EnvSpec, kind: str) -> Player:
    """The player of that name for a kind of team. UsageError on an unknown one, RefusedFile where it does not fit."""
    if text == RANDOM:
        return Player(RANDOM)
    path = policy_file(text, kind)
    about, _ = read_spec(path)
    try:
        check_fits(about, env, kind)
    except RefusedFile as error:
        raise RefusedFile(f"{path} cannot play {kind!r}: {error}") from None
    return Player(str(path), about)


def check_named_once(names: Sequence[str]) -> None:
    """UsageError where --team names a team twice: one of the two would be forgotten."""
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--team names the team {name!r} twice")


def policy_file(text: str, kind: str) -> Path:
    """The policy file that `text` names: itself, or a run's newest policy for a kind of team."""
    path = Path(text)
    if path.is_dir():
        found = runs.open_run(path).policy(kind)
        if not found.exists():
            others = ", ".join(sorted(p.stem for p in found.parent.glob("*.safetensors"))) or "none yet"
            raise UsageError(f"{path} has no policy for the team {kind!r} (it has: {others})")
        return found
    if not path.exists():
        raise UsageError(f"unknown player {text!r}: neither a run's folder, nor a policy's file, nor {RANDOM!r}")
    return path


def load(player: Player, env: EnvSpec, kind: str) -> Actor:
    """Somebody who acts. Imports torch."""
    from marl import policy

    if player.about is None:
        return policy.RandomPolicy(PolicySpec.of(env, kind))
    return policy.load(player.text)
