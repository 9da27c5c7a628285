"""Replays: record an episode, keep it in a file, play it again exactly, and say where that fails.

A replay holds what happened (actions, rewards, ends, what policies thought), what it looked like (the named state
arrays before every step and at the end) and a digest of the complete simulation state at every step. Looking at it
needs no environment; verifying it does.

While an episode of ours is recorded only its actions and events are kept; every 64 steps they are played again in one
copy, which gives the frames, so that recording costs next to nothing in a batch of thousands, and every replay that is
written has been verified once. Of somebody else's environment, which may not be repeatable, what agents see and what
it draws is copied while it happens.

    recorder = Recorder(env, copy=5, header={"policies": {"team": "final.safetensors"}}, path=Path("episode.replay"))
    while True:
        buffers = env.step(actions)
        if recorder.add(actions, buffers):
            replay = recorder.finish()
            break

Imports neither torch nor numba: playing an episode again does, when asked for.
"""

from __future__ import annotations

from environments.replay_again import LAST_BITS, Frame, GroupFrame, Verdict, one_copy, play, resimulate, verify
from environments.replay_data import GroupTrack, PolicyTrace, Replay, load, state_digest, trace_width
from environments.replay_file import is_replay
from environments.replay_header import Identity, Parent
from environments.replay_record import Recorder
from environments.replay_views import GroupView, ViewTrack

__all__ = [
    "LAST_BITS",
    "Frame",
    "GroupFrame",
    "GroupTrack",
    "GroupView",
    "Identity",
    "Parent",
    "PolicyTrace",
    "Recorder",
    "Replay",
    "Verdict",
    "ViewTrack",
    "is_replay",
    "load",
    "one_copy",
    "play",
    "resimulate",
    "state_digest",
    "trace_width",
    "verify",
]
