"""The replay buffer: what a learner of one kind of team remembers, and the n-step targets that it learns from.

A ring of time steps by seat. What agents see is stored once per step: the view that a transition leads to is that of
the next row, also across rollouts and copies. Only lives that were truncated have a view of their own besides, kept in
a second ring. Memory is asked for once, at the first rollout, and taken as it fills, the second ring's as it is needed;
`bytes_per_sample` in policy_spec.py says how much.

For networks that remember, samples are whole chunks of `span` steps of a seat, on the grid on which rollouts keep what
was carried: a chunk starts from what the policy that played it carried there, and may first be warmed up by the `lead`
steps before it (Kapturowski et al. 2019, R2D2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from environments.errors import NumericalFailure, UsageError
from marl.buffers import Rollout, neutral_outside, own_or_all
from marl.checkpoint import Segment
from marl.config_replay import chunks_of_sequence
from marl.engine.ahead import TERMINATED, TRUNCATED, Ring, look_ahead
from marl.policy_spec import PolicySpec

REDRAWS = 16
"""Times that samples in which nobody decides are drawn again; what is left of them is not used."""
FIRST_FINALS = 64
COUNTERS = ("head", "size", "first_final", "next_final")
SEGMENT_BYTES = 2**24
"""Of each segment of memory that is saved; the newest one is written again when it has changed, older ones never."""


@dataclass(frozen=True)
class Course:
    """How networks that remember come to the views that it belongs to: in `C` sequences of `L` steps, one seat each.

    The first C L views are those of the steps, in order (sequence, step); others are each seen after one of the steps:
    final views, by whose truncation a life ended, and what is seen when the learner's agents have long gone.
    """

    hidden: dict[str, Tensor]  # group -> [C, n, M] before all of it
    before: Views  # [C lead] of the steps that come first and are there for the hidden states alone
    start: Tensor  # [C, lead + L] bool: an episode begins at this step
    after: Tensor  # [F] int64 into the C L steps


@dataclass(frozen=True)
class Views:
    """What the teams of some seats see; entries of agents that do not act are neutral."""

    obs: dict[str, Tensor]  # group -> [B, n, *shape]
    action_mask: dict[str, Tensor | None]  # group -> [B, n, K] bool
    acting: Tensor  # [B, R] bool, all groups side by side
    state: Tensor  # [B, S']
    seat: Tensor  # [B]
    course: Course | None = None  # of recurrent policies


@dataclass(frozen=True)
class Sample:
    """Joint samples (step, seat), `B` of them, and where each of the `K` rows of the clock got to within n decisions.

    Rows of the clock are the team's agents where each earns its own reward, and the team (`K` = 1) where it earns one.
    The target of row k is `reward + discount * value of row k in then[which]`.
    """

    use: Tensor  # [B] bool: somebody decides there
    now: Views
    action: dict[str, Tensor]  # group -> [B, n] or [B, n, d]
    reward: Tensor  # [B, K] float32, discounted sum
    discount: Tensor  # [B, K] float32, 0 after a termination
    then: Views  # U of them
    which: Tensor  # [B, K] int64 into `then`


class ReplayBuffer:
    """The last `capacity` joint samples, in whole time steps of all seats."""

    def __init__(
        self, spec: PolicySpec, per_agent: bool, capacity: int, max_wait: int, span: int = 1, lead: int = 0
    ) -> None:
        """`per_agent`: each agent earns its own reward; else `reward` of `add` is the team's.

        `max_wait`: the longest wait between two decisions; what is as young is not sampled, for its outcome may not
        be known, and those whose outcome is known are no fair sample.

        `span`: steps of a chunk, 1 for policies that do not remember; rollouts are of whole chunks. `lead`: steps
        before it that warm up.
        """
        self.spec, self.per_agent, self.capacity, self.max_wait = spec, per_agent, capacity, max_wait
        self.span, self.lead = span, lead
        self.arrays: dict[str, Tensor] = {}
        """Name -> `[L, S, ...]`; row `head` holds the newest view, to which no transition belongs yet."""
        self.finals: dict[str, Tensor] = {}
        """Name -> `[F, ...]`: final view number i is in row i % F."""
        self.hidden: dict[str, Tensor] = {}
        """Group -> `[L / span, S, n, M]`: what a recurrent policy carried where a chunk begins."""
        self.head = self.size = 0
        self.first_final = self.next_final = 0

    @property
    def length(self) -> int:
        """L."""
        return self.arrays["acting"].shape[0]

    @property
    def seats(self) -> int:
        """S."""
        return self.arrays["acting"].shape[1]

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return sum(x.nbytes for held in (self.arrays, self.finals, self.hidden) for x in held.values())

    @property
    def ready(self) -> bool:
        """True where there is something to sample."""
        return self.size // self.span >= self._youngest

    def add(self, rollout: Rollout, reward: Tensor) -> None:
        """Store a rollout that goes on where the last one ended; `reward` is `[T, S, K]`.

        NumericalFailure where an observation that somebody acts on, a state or a reward is not finite: nothing is
        stored then.
        """
        views, events, finals = self._rows(rollout, reward)
        hidden = self._carried(rollout)
        parts = (*views.values(), *events.values(), *finals.values(), *hidden.values())
        if not all(bool(torch.isfinite(x).all()) for x in parts):
            raise NumericalFailure("an observation, state or reward is not finite", rollout)
        if not self.arrays:
            self._allocate(views, events, finals, hidden)
        steps = rollout.steps
        rows = (self.head + torch.arange(steps + 1)) % self.length
        self.first_final += int(self.arrays["finals"][rows].sum())
        numbers = self._add_finals(finals)
        for name, x in views.items():
            self.arrays[name][rows] = x
        for name, x in events.items():
            self.arrays[name][rows[:-1]] = x
        for name, x in hidden.items():
            self.hidden[name][rows[: -1 : self.span] // self.span] = x
        self.arrays["finals"][rows] = 0
        self.arrays["finals"][rows[:-1]] = torch.bincount(finals["step"], minlength=steps).to(torch.int32)
        self.arrays["final"][rows[finals["step"]], finals["seat"]] = numbers
        self.head = (self.head + steps) % self.length
        self.size = min(self.size + steps, self.length - 1)

    def sample(self, count: int, decisions: int, gamma: float, wait: float, generator: torch.Generator) -> Sample:
        """`count` samples, drawn uniformly and independently among those in which somebody decides; of a recurrent
        policy `count // span` whole chunks, in which somebody decides somewhere.

        Targets reach at most `decisions` own decisions ahead, and stop at the end of a life and at the newest view;
        rewards on the way are paid as in `returns.lambda_advantages`: `gamma` on arrival at an own decision, `wait` per
        step waited.
        """
        at, use = self._draw(count, generator)
        reward, discount, then = self._look_ahead(at, decisions, gamma, wait)
        actions = {group.name: self._at(f"action/{group.name}", at) for group in self.spec.groups}
        if self.hidden:
            now, views, which = self._courses(at, then, self.span + decisions * (1 + self.max_wait))
            return Sample(use, now, actions, reward, discount, views, which)
        which = torch.arange(count).unsqueeze(1)
        if then.shape[1] > 1 and not bool((then == then[:, :1]).all()):
            then, which = torch.unique(then, return_inverse=True)
        else:
            then, which = then[:, 0], which.expand(-1, then.shape[1])
        return Sample(use, self._views(at), actions, reward, discount, self._views(then), which)

    def state_dict(self) -> dict[str, Any]:
        """All that was stored. Shares its arrays with the buffer: who keeps it while that goes on, copies."""
        rows = 0 if not self.arrays else self.length if self.size == self.length - 1 else self.head + 1
        return {
            "arrays": _segments({name: x[:rows] for name, x in self.arrays.items()}),
            "length": self.length if self.arrays else 0,
            "finals": _segments(self.finals),
            "hidden": _segments({name: x[: -(-rows // self.span)] for name, x in self.hidden.items()}),
            **{name: getattr(self, name) for name in COUNTERS},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        self.arrays = _joined(state["arrays"], state["length"])
        self.finals = _joined(state["finals"], sum(len(each["acting"]) for each in state["finals"]))
        self.hidden = _joined(state.get("hidden", ()), state["length"] // self.span)
        for name in COUNTERS:
            setattr(self, name, int(state[name]))

    def _rows(self, rollout: Rollout, reward: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Views `[T+1, S, ..]`, events `[T, S, ..]` and final views `[F, ..]` of a rollout, by their arrays' names."""
        groups = [rollout.groups[group.name] for group in self.spec.groups]
        acting = rollout.ours(torch.cat([group.acting for group in groups], 2))
        terminated = torch.cat([group.terminated for group in groups], 2)
        truncated = torch.cat([group.truncated for group in groups], 2) & ~terminated
        members = rollout.members(acting.shape[2])
        mine = torch.ones(acting.shape[0] - 1, acting.shape[1], dtype=torch.bool) if members is None else members.any(2)
        views = {"acting": acting, "state": rollout.state}
        if self.spec.memory:
            views["start"] = rollout.start
        if self.per_agent:
            ended = terminated * TERMINATED + truncated * TRUNCATED
        else:
            timed_out = (rollout.episode_truncated & truncated.any(2)).unsqueeze(2)
            ended = rollout.episode_over.unsqueeze(2) * torch.where(timed_out, TRUNCATED, TERMINATED)
        events = {"reward": reward, "ended": ended.to(torch.uint8), "mine": mine}
        last = rollout.finals
        cut = truncated[last.step, last.seat]
        own = own_or_all(cut, None if members is None else members[last.step, last.seat])
        kept = own.any(1)
        finals = {"step": last.step[kept], "seat": last.seat[kept], "acting": own[kept], "state": last.state[kept]}
        widths = [group.action.shape[2] for group in groups]
        parts = torch.split(cut[kept], widths, 1), torch.split(acting[:-1], widths, 2)
        for group, rows, cuts, acts in zip(self.spec.groups, groups, *parts, strict=True):
            name = group.name
            views[f"obs/{name}"] = neutral_outside(rows.obs, rows.acting)
            events[f"action/{name}"] = neutral_outside(rows.action, acts)
            finals[f"obs/{name}"] = neutral_outside(last.obs[name][kept], cuts)
            legal = last.action_mask[name]
            if rows.action_mask is not None and legal is not None:
                views[f"mask/{name}"] = rows.action_mask | ~rows.acting.unsqueeze(-1)
                finals[f"mask/{name}"] = legal[kept] | ~cuts.unsqueeze(-1)
        return views, events, finals

    def _carried(self, rollout: Rollout) -> dict[str, Tensor]:
        """What a recurrent policy carried before each chunk of a rollout, group -> `[C, S, n, M]`; zeros where another
        player sat."""
        widths = [self.spec.members(group) for group in self.spec.groups]
        mine = rollout.members(sum(widths))
        if not self.spec.memory or mine is None:
            return rollout.hidden
        own = zip(self.spec.groups, torch.split(mine[:: self.span], widths, 2), strict=True)
        return {group.name: neutral_outside(rollout.hidden[group.name], rows) for group, rows in own}

    @property
    def _youngest(self) -> int:
        """How many chunks ago a sequence must begin at least, so that it ends before what is too young."""
        return chunks_of_sequence(self.span, self.lead, self.max_wait)

    def _allocate(
        self,
        views: Mapping[str, Tensor],
        events: Mapping[str, Tensor],
        finals: Mapping[str, Tensor],
        hidden: Mapping[str, Tensor],
    ) -> None:
        steps, seats = events["reward"].shape[:2]
        length = -(-(self.capacity // seats + 1) // self.span) * self.span
        needed = max(steps, self._youngest * self.span)
        if length <= needed:
            what = "a rollout" if needed == steps else "a sequence"
            raise UsageError(f"buffer_size {self.capacity} is less than {what}; it must be at least {seats * needed}")
        for name, x in {**views, **events}.items():
            self.arrays[name] = _room(length, x)
        self.arrays["final"] = torch.zeros(length, seats, dtype=torch.int64)
        self.arrays["finals"] = torch.zeros(length, dtype=torch.int32)
        for name, x in hidden.items():
            self.hidden[name] = _room(length // self.span, x)
        for name, x in finals.items():
            if name != "step":
                self.finals[name] = torch.zeros(FIRST_FINALS, *x.shape[1:], dtype=x.dtype)

    def _add_finals(self, finals: Mapping[str, Tensor]) -> Tensor:
        """Store final views; their numbers."""
        numbers = self.next_final + torch.arange(len(finals["step"]))
        self.next_final += len(numbers)
        needed, room = self.next_final - self.first_final, len(self.finals["acting"])
        if needed > room:
            old = torch.arange(self.first_final, self.next_final - len(numbers))
            wider = max(2 * room, needed)
            for name, x in self.finals.items():
                grown = torch.zeros(wider, *x.shape[1:], dtype=x.dtype)
                grown[old % wider] = x[old % room]
                self.finals[name] = grown
        for name, x in self.finals.items():
            x[numbers % len(x)] = finals[name]
        return numbers

    def _draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Places `[B]` in the flattened ring, chunk by chunk, and whether somebody decides there."""
        chunks, span = self.size // self.span, self.span
        oldest, choices = self.head - chunks * span + self.lead, (chunks - self._youngest + 1) * self.seats
        at = torch.empty(count // span, span, dtype=torch.int64)
        use = torch.zeros(count // span, span, dtype=torch.bool)
        for _ in range(REDRAWS):
            again = ~use.any(1)
            drawn = torch.randint(choices, (int(again.sum()), 1), generator=generator)
            rows = oldest + drawn // self.seats * span + torch.arange(span)
            places = rows % self.length * self.seats + drawn % self.seats
            at[again] = places
            mine, acting = (self._at(name, places.flatten()) for name in ("mine", "acting"))
            use[again] = (mine & acting.any(1)).view(-1, span)
            if bool(use.any(1).all()):
                break
        return at.flatten(), use.flatten()

    def _courses(self, at: Tensor, then: Tensor, steps: int) -> tuple[Views, Views, Tensor]:
        """For chunks at places `at [C span]`: their views; those of `steps` steps from there on, with the final views
        among them; and where in these each of the places `then [C span, K]` is.

        Places beyond those steps come last: there a team has played on without the learner's agents, which carry what
        they carried when the last of them had gone.
        """
        first = at[:: self.span]
        row, seat = (first // self.seats).unsqueeze(1), (first % self.seats).unsqueeze(1)
        left = (self.head - row) % self.length  # steps until the newest view: what comes after it repeats it

        def places(offsets: Tensor) -> Tensor:
            return (row + torch.minimum(offsets, left)) % self.length * self.seats + seat

        offsets = torch.arange(steps)
        along = places(offsets)
        cut = (self._at("ended", along.flatten()) == TRUNCATED).any(1) & self._at("mine", along.flatten())
        cut = cut.view_as(along) & (offsets < left)
        number = self._at("final", along.flatten()).view_as(along) % len(self.finals["acting"])
        final = torch.where(cut, self.length * self.seats + number, -1)
        then = then.view(len(first), -1)
        found = then.unsqueeze(2) == torch.cat([along, final], 1).unsqueeze(1)
        step = found.to(torch.uint8).argmax(2)  # the first of them
        chunk = torch.arange(len(first)).unsqueeze(1) * steps
        rank = cut.flatten().cumsum(0) - 1 + along.numel()
        which = torch.where(step < steps, chunk + step, rank[chunk + step % steps])
        beyond = ~found.any(2)
        which[beyond] = along.numel() + int(cut.sum()) + torch.arange(int(beyond.sum()))
        after = torch.cat([cut.flatten().nonzero().squeeze(1), (chunk + steps - 1).expand_as(then)[beyond]])

        before = self._views(places(torch.arange(-self.lead, 0)).flatten())
        start = self._at("start", places(torch.arange(-self.lead, steps)).flatten()).view(len(first), -1)
        begin = (row - self.lead).squeeze(1) % self.length // self.span
        hidden = {name: x[begin, seat.squeeze(1)] for name, x in self.hidden.items()}
        course = Course(hidden, before, start, after)
        now = replace(course, start=start[:, : self.lead + self.span], after=after[:0])
        seen = self._views(torch.cat([along.flatten(), final[cut], then[beyond]]))
        return replace(self._views(at), course=now), replace(seen, course=course), which.view(len(at), -1)

    def _look_ahead(self, at: Tensor, decisions: int, gamma: float, wait: float) -> tuple[Tensor, Tensor, Tensor]:
        """Discounted reward `[B, K]`, what the value there is discounted by, and the place of the view there.

        Places past the ring are those of final views.
        """
        shape = len(at), self.arrays["reward"].shape[2]
        reward, discount, then = torch.empty(shape), torch.empty(shape), torch.empty(shape, dtype=torch.int64)
        held = {name: self.arrays[name].numpy() for name in ("reward", "ended", "acting", "final")}
        ring = Ring(**held, finals=len(self.finals["acting"]), head=self.head, per_agent=self.per_agent)
        # a team may play on without the learner's agents for longer than anybody waits for a turn
        steps = decisions * (1 + self.max_wait) if self.per_agent else self.length
        found = (x.numpy() for x in (reward, discount, then))
        look_ahead(ring, at.numpy(), decisions, steps, np.float32(gamma), np.float32(wait), *found)
        return reward, discount, then

    def _views(self, at: Tensor) -> Views:
        """Views at places in the flattened ring, or past it among the final ones."""
        past = at - self.length * self.seats
        final = (past >= 0).nonzero().squeeze(1)
        numbers = past[final]
        stored = at.clamp(max=self.length * self.seats - 1)

        def look(name: str) -> Tensor:
            x = self._at(name, stored)
            if len(final):
                x[final] = self.finals[name][numbers]
            return x

        obs = {group.name: look(f"obs/{group.name}") for group in self.spec.groups}
        masks = {group.name: look(f"mask/{group.name}") if group.masked else None for group in self.spec.groups}
        seat = stored % self.seats
        seat[final] = self.finals["seat"][numbers]
        return Views(obs, masks, look("acting"), look("state"), seat)

    def _at(self, name: str, at: Tensor) -> Tensor:
        """Entries of an array at places in the flattened ring."""
        return self.arrays[name].flatten(0, 1).index_select(0, at)


def _room(length: int, like: Tensor) -> Tensor:
    """Zeros `[length, ...]` for rows like those. They take memory only where they are ever written: filling a gigabyte
    would take a second, and a short run uses little of it."""
    return torch.from_numpy(np.zeros((length, *like.shape[1:]), like.numpy().dtype))


def _segments(arrays: Mapping[str, Tensor]) -> list[Segment]:
    """Rows of arrays in runs of about `SEGMENT_BYTES`, which always begin at the same rows."""
    if not arrays:
        return []
    rows = min(map(len, arrays.values()))
    width = sum(x.nbytes // rows for x in arrays.values())
    run = max(SEGMENT_BYTES // width, 1)
    return [Segment({name: x[at : at + run] for name, x in arrays.items()}) for at in range(0, rows, run)]


def _joined(segments: Sequence[Mapping[str, Tensor]], length: int) -> dict[str, Tensor]:
    """Arrays of `length` rows, the first of which are the segments'."""
    joined: dict[str, Tensor] = {}
    at = 0
    for segment in segments:
        for name, x in segment.items():
            if name not in joined:
                joined[name] = _room(length, x)
            joined[name][at : at + len(x)] = x
        at += len(next(iter(segment.values())))
    return joined
