"""What agents saw and thought at any frame of a replay, for the viewer: the episode is played again as it is watched,
and policies whose files are at hand are asked for what the replay does not tell."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from environments.errors import UsageError
from environments.replay import Replay
from viz.rerun import Rerun, Think


def of(path: Path, replay: Replay) -> Rerun | None:
    """Insights of a replay; None of somebody else's environment: its replay tells by itself what it can tell."""
    return None if ":" in replay.spec.name else Rerun(replay, partial(thinker, path, replay))


def thinker(path: Path, replay: Replay) -> Think | None:
    """Who thinks: the recorded policies, where the replay lacks their thoughts and their files have not changed.

    Called when it is first wanted, as it imports torch. None where nobody has to be asked or can be; UsageError where
    thoughts at one frame depend on the frames before it.
    """
    tracks = replay.groups.values()
    if all(track.probabilities.shape[-1] and not np.isnan(track.value).all() for track in tracks):
        return None
    from marl.cli import company, fork

    match = fork.match_of(replay, path, (), None, lenient=True)
    if all(player.file is None for player in match.players.values()):
        return None
    asked = company.seated(match, 0, True)
    if asked.remembers:
        raise UsageError("the policy remembers: only what is recorded of its thoughts can be told")
    return lambda env: asked(env).thoughts
