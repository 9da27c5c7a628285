"""Policies: view -> action. A trained one is a single file that can be loaded and used alone.

policy = marl.policy.load("speaker.safetensors")
actions = policy.act({"agent_0": observation}, greedy=True)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from environments.spec import AgentGroup
from marl import by_name, files
from marl.acting import Hidden, PolicyStep, View
from marl.distributions import (
    LARGEST_LOG_STD,
    SMALLEST_LOG_STD,
    Categorical,
    Deterministic,
    DiagonalGaussian,
    MultiCategorical,
    SquashedGaussian,
    box_scale,
    choose,
    head_size,
)
from marl.encoders import Encoders
from marl.engine.fused import Passes, every
from marl.engine.heads import Choose, Point, Squash
from marl.engine.layout import FlatNetwork
from marl.engine.noise import normals
from marl.engine.perceptrons import Perceptrons
from marl.judges import Judge, tensors_of
from marl.networks import AgentMLP, compute_by
from marl.policy_spec import SCHEMA, PolicySpec, checksum, read_spec, refused, settled
from marl.recurrent import Past, RecurrentAgents, network
from marl.values import CriticShape, ValueFunction

ACTION_GAIN = 0.01
"""Small last layer: the first policy is near uniform (Andrychowicz et al. 2021, arXiv:2006.05990)."""


Chosen = Categorical | MultiCategorical | DiagonalGaussian | SquashedGaussian | Deterministic
"""Distributions that a policy's networks parameterise."""

NO_NOISE = torch.zeros(0, 0, 0)
"""Tells the engine to take the likeliest action."""


class Policy(nn.Module):
    """One actor network per group of a kind of team; a function of (view, noise)."""

    def __init__(self, spec: PolicySpec, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.spec = spec
        generator = generator or torch.Generator().manual_seed(0)
        self.actors = nn.ModuleDict()
        self.log_std = nn.ParameterDict()
        self.encoders = Encoders(spec, spec.parameters, generator)
        plain = spec.recurrent == "none" and not self.encoders
        self.compiled = plain and spec.box != "deterministic" and spec.epsilon is None
        """Act by compiled functions (networks in float32 on the CPU; there are none for images and for what remembers;
        of single points and of values only the networks are computed so), or by torch."""
        self._passes: dict[str, Passes] = {}
        self.critic: ValueFunction | None = None
        """What the policy's learner expected, where it is known: shown in replays, never used to act."""
        self.judge: Judge | None = None
        """The same, of a learner from a replay buffer; no part of the policy's state, but of its file."""
        for group in spec.groups:
            members = spec.members(group)
            outputs = head_size(group.action_space)
            is_box = isinstance(group.action_space, spaces.Box)
            self.actors[group.name] = network(
                spec,
                self.encoders.sizes[group.name],
                spec.hidden,
                2 * outputs if is_box and spec.box == "squashed" else outputs,
                members,
                spec.parameters,
                spec.agent_id,
                ACTION_GAIN,
                generator,
            )
            if isinstance(group.action_space, spaces.Box):
                if spec.box == "gaussian":
                    rows = members if spec.parameters == "per_agent" else 1
                    self.log_std[group.name] = nn.Parameter(torch.full((rows, outputs), -0.5))
                centre, half = box_scale(group.action_space)
                self.register_buffer(f"centre_{group.name}", centre, persistent=False)
                self.register_buffer(f"half_{group.name}", half, persistent=False)

        if plain and not self.compiled:
            compute_by(Perceptrons(1), self.actors)
        self._first = (next(self.actors.parameters()),)  # in a tuple: no parameter of the policy itself

    def acting_parameters(self) -> Iterator[nn.Parameter]:
        """What decides how the policy acts: all but the critic."""
        yield from self.actors.parameters()
        yield from self.log_std.parameters()
        yield from self.encoders.parameters()

    def acting_parameters_of(self, group: AgentGroup) -> list[nn.Parameter]:
        """Those of one group: its network's, the deviations', its encoder's."""
        log_std = [self.log_std[group.name]] if group.name in self.log_std else []
        encoder = self.encoders[group.name].parameters() if group.name in self.encoders else ()
        return [*self.actors[group.name].parameters(), *log_std, *encoder]

    def distribution(
        self, group: AgentGroup, obs: Tensor, mask: Tensor | None, agent: int | None = None, past: Past | None = None
    ) -> Chosen:
        """Action distribution of a group from `obs [B, n, *shape]` and `mask [B, n, K]`; arguments as in `describe`."""
        return self.head(group, self.describe(group, obs, agent, past), mask)

    def describe(self, group: AgentGroup, obs: Tensor, agent: int | None = None, past: Past | None = None) -> Tensor:
        """What `head` makes a distribution of, `[B, n, outputs]`: logits, or means with log-deviations behind them.

        With `agent`, of that one alone, by parameters of its own: `obs [B, 1, *shape]`. A recurrent policy needs to
        know the `past`, of all agents.
        """
        return self.remembering(group, obs, agent, past)[0]

    def remembering(
        self, group: AgentGroup, obs: Tensor, agent: int | None = None, past: Past | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """What `describe` says, and what a recurrent policy carries on after each step, `[C, L, n, M]`."""
        actor, after = self.actors[group.name], None
        own_encoder = None if agent is None else self.encoders.own(group.name, agent)
        x = self.encoders.fed(group.name, obs, self._first[0].dtype, own_encoder)
        if isinstance(actor, AgentMLP):
            outputs: Tensor = actor(x) if agent is None else actor.alone(x.squeeze(1), agent).unsqueeze(1)
        else:
            assert isinstance(actor, RecurrentAgents) and past is not None, "a recurrent policy needs to know the past"
            if agent is None:
                outputs, after = actor(x, past)
            else:
                outputs = actor.alone(x.squeeze(1), agent, past.only(agent)).unsqueeze(1)
        if group.name not in self.log_std:
            return outputs, after
        log_std = self.log_std[group.name]
        own = log_std if agent is None else log_std[agent : agent + 1]
        return torch.cat([outputs, own.expand_as(outputs)], -1), after

    def head(self, group: AgentGroup, outputs: Tensor, mask: Tensor | None) -> Chosen:
        """What the network's outputs for agents of a group mean; of unsquashed normals, what `describe` says."""
        if self.spec.epsilon is not None:
            return choose(group, outputs, mask, self.spec.epsilon)
        if isinstance(group.action_space, spaces.Discrete):
            return Categorical(outputs, mask)
        if isinstance(group.action_space, spaces.MultiDiscrete):
            return MultiCategorical(outputs, tuple(int(n) for n in group.action_space.nvec), mask)
        centre, half = self.get_buffer(f"centre_{group.name}"), self.get_buffer(f"half_{group.name}")
        if self.spec.box == "deterministic":
            return Deterministic(outputs, centre, half)
        mean, log_std = outputs.chunk(2, -1)
        normal = SquashedGaussian if self.spec.box == "squashed" else DiagonalGaussian
        return normal(mean, log_std, centre, half)

    @cached_property
    def memory(self) -> Mapping[str, int]:
        """What it carries, as `RecurrentActor` says: hidden states; nothing where it is feed-forward."""
        actors = ((name, actor) for name, actor in self.actors.items() if isinstance(actor, RecurrentAgents))
        return {name: actor.memory for name, actor in actors}

    @torch.inference_mode()
    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False, hidden: Hidden | None = None
    ) -> dict[str, PolicyStep]:
        """Actions from views and uniform noise `[S, n, draws]` per group."""
        draws = {group.name: None if greedy else noise[group.name] for group in self.spec.groups}
        return {g.name: self.step_of(g, views[g.name], draws[g.name], hidden) for g in self.spec.groups}

    @torch.inference_mode()
    def step_of(self, group: AgentGroup, view: View, noise: Tensor | None, hidden: Hidden | None = None) -> PolicyStep:
        """Actions of one group; the likeliest ones without noise."""
        if self.acts_compiled:
            draws = NO_NOISE if noise is None else noise
            return self.step_each(group, [self], np.array([len(view.acting)]), view, draws)
        outputs, kept = self.look(group, view, hidden)
        chosen = self.head(group, outputs, view.action_mask)
        action = chosen.mode() if noise is None else chosen.sample(noise)
        return PolicyStep(action, chosen.log_prob(action), kept)

    def look(self, group: AgentGroup, view: View, hidden: Hidden | None) -> tuple[Tensor, Tensor | None]:
        """What `describe` says of a view, and what a recurrent policy carries on; none `hidden`: an episode begins."""
        actor = self.actors[group.name]
        if not isinstance(actor, RecurrentAgents):
            return self.describe(group, view.obs), None
        kept = (hidden or {}).get(group.name)
        kept = torch.zeros(*view.acting.shape, actor.memory) if kept is None else kept
        outputs, after = self.remembering(group, view.obs, past=Past.of_step(kept, view.acting))
        return outputs, None if after is None else after[:, -1]

    @property
    def acts_compiled(self) -> bool:
        """Whether it acts by compiled functions now."""
        (first,) = self._first
        return self.compiled and first.dtype == torch.float32 and first.device.type == "cpu"

    def passes(self, group: AgentGroup, threads: int | None = None) -> Passes:
        """The engine's hold on a group's network; made once, and again for another number of `threads`."""
        held = self._passes.get(group.name)
        if held is None or (threads is not None and held.threads != threads):
            extra = [self.log_std[group.name]] if group.name in self.log_std else []
            held = Passes(FlatNetwork(self.actors[group.name], extra), False, threads or 1)
            self._passes[group.name] = held
        return held

    def choice_place(self, group: AgentGroup, mask: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of actions `[J]` and the mask as the engine takes them, for discrete actions."""
        space: Any = group.action_space
        sizes = np.atleast_1d(space.nvec if isinstance(space, spaces.MultiDiscrete) else space.n)
        legal = np.zeros((0, 0, 0), np.bool_) if mask is None else mask.contiguous().numpy()
        return sizes.astype(np.int64), legal

    def box_place(self, group: AgentGroup, passes: Passes) -> tuple[int, np.ndarray, np.ndarray]:
        """Place of the deviations, centre and half as the engine takes them, for Box actions."""
        return passes.network.extra[0], *self._box_scale(group)

    def step_each(
        self, group: AgentGroup, members: Sequence[Policy], ends: NDArray[np.int64], view: View, draws: Tensor
    ) -> PolicyStep:
        """A compiled step of policies of this one's build: rows `ends[p - 1] : ends[p]` of the view by `members[p]`."""
        passes, each = self.passes(group), [member.passes(group) for member in members]
        seats, agents = view.acting.shape
        log_prob = np.empty((seats, agents), np.float32)
        obs = view.obs.flatten(2)
        if isinstance(group.action_space, spaces.Box):
            point = np.empty((seats, agents, head_size(group.action_space)), np.float32)
            normal = np.empty(draws.shape, np.float32)
            normals(draws.contiguous().numpy().reshape(-1), normal.reshape(-1))
            task = self.box_task(group, passes, normal, point, log_prob)
            passes.evaluate_each(each, ends, task, obs, every(seats))
            return PolicyStep(torch.from_numpy(point), torch.from_numpy(log_prob))
        sizes, mask = self.choice_place(group, view.action_mask)
        chosen = np.empty((seats, agents, len(sizes)), np.int32)
        choice = Choose(sizes, mask, draws.contiguous().numpy(), chosen, log_prob)
        passes.evaluate_each(each, ends, choice, obs, every(seats))
        action = torch.from_numpy(chosen)
        shaped = action if isinstance(group.action_space, spaces.MultiDiscrete) else action.squeeze(-1)
        return PolicyStep(shaped, torch.from_numpy(log_prob))

    def box_task(self, group: AgentGroup, passes: Passes, *arrays: np.ndarray) -> Point | Squash:
        """How the engine chooses Box actions, its arrays being of noise, actions and log-probabilities."""
        if self.spec.box == "gaussian":
            return Point(*self.box_place(group, passes), *arrays)
        bounds = np.float32(SMALLEST_LOG_STD), np.float32(LARGEST_LOG_STD)
        return Squash(*self._box_scale(group), *bounds, *arrays)

    def _box_scale(self, group: AgentGroup) -> tuple[np.ndarray, np.ndarray]:
        return self.get_buffer(f"centre_{group.name}").numpy(), self.get_buffer(f"half_{group.name}").numpy()

    @torch.inference_mode()
    def explain(
        self,
        views: Mapping[str, View],
        state: Tensor,
        hidden: Hidden | None = None,
        expected: dict[str, Tensor] | None = None,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Per group what a viewer wants to know: (probabilities, or mean and deviation side by side `[S, n, .]`; the
        critic's value `[S, n]` in reward units (`judges` says of what, for learners from a replay buffer), NaN where no
        critic is known). `state` is `[S, S']`.

        Of a recurrent policy, `hidden` is what it is handed at this step, and `expected` what its critic carries, head
        -> `[S, rows, M]`, nothing where an episode begins: put there anew for the next step.
        """
        shown = {}
        values = None
        if self.critic is not None:
            values = self._expected(self.critic, views, state, {} if expected is None else expected)
        elif self.judge is not None:
            values = self.judge.expects(self, views, state, hidden)
        first = 0
        for group in self.spec.groups:
            view = views[group.name]
            chosen = self.head(group, self.look(group, view, hidden)[0], view.action_mask)
            if isinstance(chosen, DiagonalGaussian | SquashedGaussian | Deterministic):
                parameters = torch.cat([chosen.mode(), chosen.deviation()], -1)
            else:
                parameters = chosen.probs
            value = torch.full(view.acting.shape, torch.nan)
            if values is not None:
                own = values if values.shape[1] == 1 else values[:, first : first + view.acting.shape[1]]
                value = own.expand(view.acting.shape)
            first += view.acting.shape[1]
            shown[group.name] = (parameters, value)
        return shown

    def _expected(
        self, critic: ValueFunction, views: Mapping[str, View], state: Tensor, carried: dict[str, Tensor]
    ) -> Tensor:
        """The critic's values `[S, R or 1]` in reward units; what it carries is replaced by what it carries on."""
        obs, past = {name: view.obs for name, view in views.items()}, None
        if critic.recurrent:
            acting = torch.cat([views[group.name].acting for group in self.spec.groups], 1).unsqueeze(1)
            begun = torch.zeros(len(state), 1, dtype=torch.bool)
            past = critic.past(critic.begin(len(state)) | carried, begun, acting)
        values, kept = critic.remembering(obs, state, torch.arange(len(state)), past)
        carried.update(kept)
        return critic.to_raw(values)

    def act(
        self,
        observations: Mapping[str, Any],
        mask: Mapping[str, Any] | None = None,
        greedy: bool = False,
        rng: np.random.Generator | None = None,
        hidden: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Actions for named agents, as PettingZoo gives and takes them; agents of other kinds are left out.

        Args:
            observations: agent name -> observation, or `{"observation": .., "action_mask": ..}`.
            mask: agent name -> legal actions (True or 1 = legal; for MultiDiscrete one array or a tuple of them), where
                they do not come with the observation. None legal: the agent is off turn, and anything goes.
            greedy: the likeliest action instead of a sampled one.
            rng: source of randomness for sampling; a fresh one by default.
            hidden: what a recurrent policy remembers of this episode, agent by agent: an empty dictionary at its start,
                filled in here, and the same one at each of its steps. ValueError where such a policy is given none.

        ValueError, too, where an observation is of another shape than the policy's, or one acted on is not finite.
        """
        if self.memory and hidden is None:
            raise ValueError("this policy remembers: act(.., hidden=h), with h = {} at the start of every episode")
        return by_name.act(self, observations, mask or {}, greedy, rng or np.random.default_rng(), hidden)

    def save(self, path: Path | str, **about: Any) -> None:
        """Write weights and spec to one `.safetensors` file; `about` is added to what the spec says of its origin."""
        spec = self.spec.to_json() | {"about": dict(self.spec.about) | about}
        critic = None if self.judge is None else dict(self.judge.shape)
        critic = critic if self.critic is None else self.critic.shape.to_json()
        metadata = {"schema": str(SCHEMA), "policy": json.dumps(spec), "critic": json.dumps(critic)}
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors_of(self).items()}
        metadata["sha256"] = checksum(metadata, ((name, tensor.numpy()) for name, tensor in weights.items()))
        files.write_atomic(Path(path), settled(safetensors.torch.save(weights, metadata)))


def load(path: Path | str) -> Policy:
    """Read a policy file. RefusedFile where it is missing, damaged or not one of ours."""
    spec, critic = read_spec(path)
    with refused(path):
        weights = safetensors.torch.load_file(path)
        with torch.device("meta"):  # takes no memory: first see whether the file holds what its spec promises
            promised = {name: tensor.shape for name, tensor in tensors_of(_build(spec, critic)).items()}
        if promised != {name: tensor.shape for name, tensor in weights.items()}:
            raise ValueError("its weights are not those of its spec")
        policy = _build(spec, critic)
        with torch.no_grad():
            for name, tensor in tensors_of(policy).items():
                tensor.copy_(weights[name])
    return policy


def _build(spec: PolicySpec, critic: Mapping[str, Any] | None) -> Policy:
    policy = Policy(spec)
    if critic is not None and "of" in critic:
        policy.judge = Judge.build(spec, critic)
    elif critic is not None:
        policy.critic = ValueFunction(spec, CriticShape.from_json(critic), torch.Generator())
    return policy
