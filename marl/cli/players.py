"""PLAYER: who may sit in a team's seats without learning. A run's, a file's or a league's policy, a bot, random play.

Names are checked without torch, so that a mistake is answered at once; torch is imported when players are loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gymnasium import spaces

import environments
from environments.bots import plays
from environments.errors import RefusedFile, UsageError, nearest
from environments.spec import AgentGroup, EnvSpec
from marl import files, runs
from marl.policy_spec import PolicySpec, check_fits, read_spec

if TYPE_CHECKING:
    from league.records import Player as Entry
    from marl.acting import Actor

RANDOM = "random"
BOT = "bot:"
LEAGUE = "league:"


@dataclass(frozen=True)
class Player:
    """A player that has been checked to fit its kind of team."""

    text: str
    """`random`, `bot:NAME`, or the policy's file."""
    about: PolicySpec | None = None
    """What the policy says of itself; None where there is no file."""

    @property
    def file(self) -> Path | None:
        """The policy's file; None for a bot and for random play."""
        return None if self.about is None else Path(self.text)

    def to_json(self) -> dict[str, object]:
        """What results and replays say of the player."""
        if self.about is None:
            return {"player": self.text}
        return {"player": self.text, "sha256": files.sha256(Path(self.text)), **dict(self.about.about)}


def find(text: str, env: EnvSpec, kind: str) -> Player:
    """The player of that name for a kind of team. UsageError on an unknown one, RefusedFile where it does not fit."""
    if text == RANDOM:
        return Player(RANDOM)
    if text.startswith(BOT):
        _check_bot(text.removeprefix(BOT), env, kind)
        return Player(text)
    if text.startswith(LEAGUE):
        member = league_player(text)
        if not member.snapshots:
            return find(member.source, env, kind)
        if kind not in member.roles:
            raise UsageError(f"{text} plays {' and '.join(map(repr, member.roles))}, not {kind!r} of {env.name}")
    path = policy_file(text, kind)
    about, _ = read_spec(path)
    try:
        check_fits(about, env, kind)
    except RefusedFile as error:
        raise RefusedFile(f"{text if text.startswith(LEAGUE) else path} cannot play {kind!r}: {error}") from None
    return Player(str(path), about)


def is_file(text: str) -> bool:
    """True where a player's text names a run or a policy's file, which may change or go."""
    return text != RANDOM and not text.startswith(BOT)


def _check_bot(name: str, env: EnvSpec, kind: str) -> None:
    """UsageError where there is no such bot, or where one action that it is asked for is none of the team's."""
    bot = environments.bot(name)
    cannot = f"{BOT}{name} cannot play {kind!r} of {env.name}"
    if not plays(name, env.name):
        raise UsageError(f"{BOT}{name} plays {name.rpartition('/')[0]}, not {env.name}")
    for group in (env.group(each) for each in env.kind(kind).groups):
        obs = np.zeros((1, *group.observation_space.shape), group.observation_space.dtype)
        mask = np.ones((1, group.mask_size), np.bool_) if group.masked else None
        try:
            answer = np.asarray(bot(obs, mask, np.zeros(1, np.float32)))
        except (UsageError, ValueError, IndexError) as error:
            raise UsageError(f"{cannot}: {error}") from None
        if not _is_action(answer, group):
            raise UsageError(f"{cannot}: its actions are not {group.action_space}")


def _is_action(answer: np.ndarray, group: AgentGroup) -> bool:
    """True where one row of a bot's answer is an action of the group."""
    space = group.action_space
    if answer.shape != (1, *(space.shape or ())):
        return False
    start = getattr(space, "start", 0)  # actions are counted from 0 here, whatever the space is called
    return bool(space.contains(answer[0].astype(space.dtype) + (0 if isinstance(space, spaces.Box) else start)))


def check_named_once(names: Sequence[str]) -> None:
    """UsageError where --team names a team twice: one of the two would be forgotten."""
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--team names the team {name!r} twice")


def league_of(text: str) -> tuple[Path, str]:
    """Folder and player of `league:DIR/ID`. UsageError where there is no league."""
    from league.store import JOURNAL

    whole = Path(text.removeprefix(LEAGUE))
    folder = next((folder for folder in whole.parents if (folder / JOURNAL).exists()), None)
    if folder is None:
        raise UsageError(f"{text!r}: there is no league in {whole.parent}; write {LEAGUE}DIR/ID")
    return folder, whole.relative_to(folder).as_posix()


def league_player(text: str) -> Entry:
    """Who `league:DIR/ID` is: the player of that name or number, of a learner its newest snapshot. UsageError."""
    from league.store import Store

    folder, name = league_of(text)
    with Store(folder, create=False) as store:
        players = store.players()
    found = next((p for number, p in players.items() if name in (p.name, str(number))), None)
    if found is None:
        raise UsageError(f"{folder} has no player {name!r}{nearest(name, [p.name for p in players.values()])}")
    copies = [p for p in players.values() if p.snapshots and p.source == found.source]
    return found if found.snapshots or not copies else copies[-1]


def league_file(text: str, kind: str | None = None) -> Path:
    """The policy file of `league:DIR/ID` for a kind of team, or whatever it plays. UsageError where it has none;
    RefusedFile where its content was changed."""
    from league.store import Store

    member = league_player(text)
    kept = dict(member.snapshots)
    if not kept:
        raise UsageError(f"{text} has no policy's file: it is {member.source}")
    with Store(league_of(text)[0], create=False) as store:
        return store.snapshot(kept[kind or min(kept)])


def policy_file(text: str, kind: str) -> Path:
    """The policy file that `text` names: itself, or the newest policy of a run or of a league for a kind of team."""
    if text.startswith(LEAGUE):
        return league_file(text, kind)
    path = Path(text)
    if path.is_dir():
        found = runs.open_run(path).policy(kind)
        if not found.exists():
            others = ", ".join(sorted(p.stem for p in found.parent.glob("*.safetensors"))) or "none yet"
            raise UsageError(f"{path} has no policy for the team {kind!r} (it has: {others})")
        return found
    if not path.exists():
        raise UsageError(
            f"unknown player {text!r}: neither a run's folder, nor a policy's file, nor {BOT}NAME, nor {LEAGUE}DIR/ID, "
            f"nor {RANDOM!r}"
        )
    return path


def load(player: Player, env: EnvSpec, kind: str) -> Actor:
    """Somebody who acts. Imports torch."""
    from marl import policy
    from marl.random_policy import RandomPolicy

    if player.text.startswith(BOT):
        from marl.bots import BotPolicy

        return BotPolicy(PolicySpec.of(env, kind), environments.bot(player.text.removeprefix(BOT)))
    if player.about is None:
        return RandomPolicy(PolicySpec.of(env, kind))
    return policy.load(player.text)
