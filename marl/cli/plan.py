"""A run as plain data: what is typed becomes a plan, a plan is kept as config.json, and a plan is built into parts.

Checked as far as it can be without torch: names, settings, sizes, players' spaces.
"""

from __future__ import annotations

import itertools
import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import environments
from environments import registry
from environments.errors import RefusedFile, UsageError
from environments.spec import AgentGroup, EnvSpec, is_image
from marl import config as settings
from marl import files, runs
from marl.cli import players
from marl.cli.external import COPIES
from marl.config import ALGORITHMS, TrainConfig
from marl.config_checks import check_fits, require
from marl.config_replay import OffPolicyConfig, QConfig, SACConfig
from marl.config_rollout import RolloutConfig
from marl.one_kind import OneKind, alike
from marl.policy_spec import (
    NETWORK,
    PolicySpec,
    bytes_per_sample,
    check_bounded,
    check_mixed,
    choices,
    expectation,
    network_of,
)

if TYPE_CHECKING:
    from environments.vector import VectorEnv
    from marl.policy import Policy
    from marl.trainer import Learner, Trainer

TRAINING_COPY, WATCHED_COPY, MEASURED_COPY = 0, 2**62, 2**63
"""Numbers of the first copy that trains, that is evaluated during training, and that `marl evaluate` plays: one seed
gives every number another key, so no episode is ever seen on two of these sides."""
KEPT_PLAYERS = "players"
"""Folder in a run's that holds the policies it starts from or plays against: files elsewhere may change."""
SHARED_BY_RUN = ("rollout_length",)
"""Settings that all learners of a run have in common."""


@dataclass(frozen=True)
class Learns:
    """A kind of team that is trained."""

    algorithm: str
    config: settings.Settings
    init: str | None = None
    """Policy file whose weights it starts from."""


@dataclass(frozen=True)
class Plan:
    """Everything that a run is."""

    scenario: str
    algorithm: str
    """Of the teams not named otherwise."""
    environment: str
    options: Mapping[str, Any]
    """Of the environment, all of them."""
    reward: str
    train: TrainConfig
    teams: Mapping[str, Learns | str]
    """Kind of team -> how it learns, or the PLAYER that it is."""
    preset: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` reads it back."""
        teams = {
            name: {"player": team}
            if isinstance(team, str)
            else {"algorithm": team.algorithm, "settings": settings.to_json(team.config), "init": team.init}
            for name, team in self.teams.items()
        }
        plain = {name: getattr(self, name) for name in ("scenario", "algorithm", "environment", "reward", "preset")}
        return {**plain, "options": dict(self.options), "train": settings.to_json(self.train), "teams": teams}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """RefusedFile where the data is not what `to_json` writes."""
        try:
            if not data["teams"] or data["reward"] not in typing.get_args(settings.RewardMode):
                raise TypeError("no teams, or an unknown reward")
            teams = {
                name: _text(team["player"])
                if "player" in team
                else Learns(
                    team["algorithm"],
                    settings.changed(settings.algorithm(team["algorithm"]).config, team["settings"]),
                    team["init"],
                )
                for name, team in data["teams"].items()
            }
            plain = {name: data[name] for name in ("scenario", "algorithm", "environment", "reward", "preset")}
            train = settings.changed(TrainConfig(), data["train"])
            return cls(**plain, options={**data["options"]}, train=train, teams=teams)
        except (KeyError, TypeError, AttributeError, UsageError) as error:
            raise RefusedFile(f"the run's config cannot be read ({type(error).__name__}: {error})") from None

    @property
    def rollout_length(self) -> int:
        """Steps of every copy between two updates, the same for all learners."""
        return self.learners[min(self.learners)].config.rollout_length

    @property
    def learners(self) -> dict[str, Learns]:
        """Kinds of team that are trained."""
        return {name: team for name, team in self.teams.items() if isinstance(team, Learns)}

    def spec(self) -> EnvSpec:
        """The environment's description."""
        return describe(self.environment, self.options)

    def check(self) -> None:
        """UsageError or RefusedFile where the run could not be built: sizes, actions, players, starting weights."""
        spec = self.spec()
        if self.train.workers is not None and not registry.is_external(self.environment):
            raise UsageError("--workers is for other people's environments; those that ship here use --threads")
        recorded = max(self.train.record, self.train.eval_record)
        if registry.is_external(self.environment) and recorded > COPIES:
            raise UsageError(f"of others' environments at most {COPIES} episodes are recorded at once, not {recorded}")
        if not self.learners:
            raise UsageError("every team is a fixed player: there is nothing to train")
        if self.train.device != "cpu":
            from marl import device  # imports torch, which alone knows what GPUs there are

            device.find(self.train.device)
        played = self.played_by(spec)
        for name, team in self.teams.items():
            if isinstance(team, str):
                players.find(team, spec, name)
                continue
            known = ALGORITHMS[team.algorithm]
            known.engine(self.train.engine, team.config, self._sees_images(spec, name), self.train.device)
            check_place(known, team.config)
            self._check_actions(known, spec, name)
            for shared in SHARED_BY_RUN:
                if getattr(team.config, shared) != getattr(self, shared):
                    raise UsageError(f"{shared} is the same for all teams: set it as --{shared.replace('_', '-')}")
            together = [other for other, first in played.items() if first == played[name]]
            seats = self.train.num_envs * sum(spec.kind(other).teams for other in together)
            samples = self.rollout_length * seats
            if isinstance(team.config, RolloutConfig):
                parts, span = samples // team.config.span, team.config.span
                if team.config.minibatches > parts:
                    what = f"{parts} samples" if span == 1 else f"{parts} chunks of {span} steps"
                    raise UsageError(f"{what} cannot be cut into {team.config.minibatches} minibatches")
            else:
                self._check_memories(PolicySpec.of(spec, name), team.config)
                team.config.check_buffer(seats, spec.max_wait)
            if team.init is not None:
                self._check_init(team, players.find(team.init, spec, name))
        if self.train.self_play:
            self._check_self_play(spec)
        self._check_memory(spec)

    @property
    def engines(self) -> dict[str, str]:
        """How the gradients of each team that learns are computed, and why not otherwise."""
        found: dict[str, str] = {}
        for name, team in self.learners.items():
            known, images, device = ALGORITHMS[team.algorithm], self._sees_images(self.spec(), name), self.train.device
            found[name] = known.engine(self.train.engine, team.config, images, device)
            found[name] += f" on {device}" if device != "cpu" else ""
            why = known.slow(team.config, images, device)
            found[name] += f" ({why})" if why else ""
        return found

    def _sees_images(self, spec: EnvSpec, kind: str) -> bool:
        return any(is_image(spec.group(name).observation_space) for name in spec.kind(kind).groups)

    def played_by(self, spec: EnvSpec) -> dict[str, str]:
        """Kind of team that is trained -> whose learner plays it: in self-play the first one's of those that are alike.

        Alike are kinds with equal spaces that the same algorithm learns with the same settings.
        """
        found: dict[str, str] = {}
        for name, team in self.learners.items():
            how = (team.algorithm, team.config)
            firsts = [
                first
                for first in dict.fromkeys(found.values())
                if how == (self.learners[first].algorithm, self.learners[first].config) and alike(spec, first, name)
            ]
            found[name] = firsts[0] if firsts and self.train.self_play else name
        return found

    def _check_self_play(self, spec: EnvSpec) -> None:
        """UsageError where no learner has anybody to play against, or weights are given to a team that has none."""
        played = self.played_by(spec)
        if all(name == first and spec.kind(name).teams == 1 for name, first in played.items()):
            raise UsageError(f"--self-play: no two teams of {spec.name} have equal spaces and learn alike")
        for name, first in played.items():
            if name != first and self.learners[name].init is not None:
                raise UsageError(f"--init: the learner of {first!r} plays {name!r} too; give it weights of {first!r}")

    def _check_actions(self, known: settings.Algorithm, spec: EnvSpec, team: str) -> None:
        """UsageError where an agent has actions that the algorithm cannot learn: whose, which, and what would work."""

        def options() -> Iterator[str]:
            for name, value in self.options.items():
                other = {**self.options, name: not value}
                if isinstance(value, bool) and _fits_with(known, self.environment, other, team):
                    yield f"set --env.{name.replace('_', '-')} {str(not value).lower()}"

        settings.check_actions(known.name, known.actions, _groups(spec, team), options)

    def _check_memories(self, policy: PolicySpec, config: OffPolicyConfig) -> None:
        check_bounded(policy)
        if isinstance(config, SACConfig):
            expectation(policy, config.critic == "central", config.expectation)
        if isinstance(config, QConfig):
            check_mixed(policy, config.mixer, self.reward)

    def _check_init(self, team: Learns, player: players.Player) -> None:
        if player.about is None:
            raise UsageError(f"--init takes a policy file, not {player.text}")
        for name in NETWORK:
            mine, theirs = getattr(team.config, name, getattr(PolicySpec, name, None)), getattr(player.about, name)
            if mine != theirs and not ALGORITHMS[team.algorithm].recurrent and name == "recurrent":
                raise RefusedFile(f"{player.text} remembers, and {team.algorithm} is feed-forward only")
            if mine != theirs:
                raise RefusedFile(f"{player.text} has {name} {theirs}, the run {mine}; set --{name.replace('_', '-')}")
        values = isinstance(team.config, QConfig)
        if values != (player.about.epsilon is not None):
            theirs, mine = ("probabilities", "values") if values else ("values", "probabilities")
            raise RefusedFile(f"{player.text} gives {theirs} of actions; {team.algorithm} needs {mine}")
        box = team.config.box
        if player.about.box != box and not all(choices(group.action_space) for group in player.about.groups):
            raise RefusedFile(f"{player.text} draws {player.about.box} Box actions; {team.algorithm} needs {box} ones")

    def _check_memory(self, spec: EnvSpec) -> None:
        """UsageError where the rollout or the networks alone would not fit."""
        row = 4 * spec.state_size
        for group in spec.groups:
            space = group.observation_space
            view = math.prod(space.shape) * (1 if space.dtype == np.uint8 else 4)
            row += len(group.agents) * (view + group.mask_size + 4 * group.agent_state_size + 32)
        rollout = row * self.train.num_envs * (self.rollout_length + 1)
        check_fits(rollout, f"a rollout of {self.train.num_envs} copies x {self.rollout_length} steps")
        for name, team in self.learners.items():
            weights = sum(a * b for a, b in itertools.pairwise(team.config.hidden))
            kind = PolicySpec.of(spec, name, **network_of(team.config))
            weights += 6 * kind.memory * kind.hidden[-1]
            copies = len(spec.agents) if team.config.parameters == "per_agent" else 1
            if isinstance(team.config, OffPolicyConfig):
                rows = len(spec.agents) if self.reward == "agent" else 1
                each = bytes_per_sample(kind, spec.critic_size(name), rows, team.config.span)
                seen = each * team.config.buffer_size
                check_fits(seen, f"a replay buffer of {team.config.buffer_size} samples of {name!r}")
            # actor and critic; each weight with its gradient and Adam's two moments
            check_fits(
                2 * 4 * 4 * weights * copies, f"the networks of {name!r} with hidden layers {team.config.hidden}"
            )

    def environment_of(self, num_envs: int, first_copy: int, seed: int | None = None, filmed: int = 0) -> VectorEnv:
        """Copies of the environment; compiles it, or starts the processes that step it. See `made`."""
        train = self.train
        seed = train.seed if seed is None else seed
        workers = train.threads if train.workers is None else train.workers
        return made(
            self.environment, self.options, num_envs, seed, first_copy, train.threads, workers, train.max_faults, filmed
        )

    def build(self) -> Trainer:
        """The parts of the run, ready to train. Imports torch."""
        import torch

        from marl.trainer import Trainer

        torch.set_num_threads(1)  # blocks of work go to threads as a whole; torch's own would only get in the way
        train = self.train
        env = self.environment_of(train.num_envs, TRAINING_COPY)
        played = self.played_by(env.spec)
        for first in dict.fromkeys(played.values()):
            same = [name for name in played if played[name] == first]
            env = env if len(same) == 1 else OneKind(env, same)
        learners, fixed = {}, {}
        for name, team in self.teams.items():
            if played.get(name, name) != name:
                continue
            if isinstance(team, str):
                fixed[name] = players.load(players.find(team, env.spec, name), env.spec, name)
                continue
            learners[name] = self.learner(env.spec, name, train.seed)
        past = train if train.self_play else None
        return Trainer(env, learners, fixed, train.total_steps, self.rollout_length, train.seed, past)

    def learner(self, spec: EnvSpec, name: str, seed: int) -> Learner:
        """The learner of a kind of team, from its starting weights. Imports torch."""
        from marl import device, policy

        team, here = self.learners[name], self.train.device == "cpu"
        known = ALGORITHMS[team.algorithm]
        acts = "fused" if here and self.train.engine != "torch" else "torch"  # also where gradients are not compiled
        engine = {"engine": acts} if isinstance(team.config, RolloutConfig) else {}
        if known.compiled and not engine:
            engine["engine"] = known.engine(
                self.train.engine, team.config, self._sees_images(spec, name), self.train.device
            )
        build = known.load()
        threads = self.train.threads if here else 1
        learner: Learner = build(spec, name, team.config, self.reward, seed, threads, **engine)
        if team.init is not None:
            start_from(learner.policy, policy.load(team.init))
        return learner if here else device.OnDevice(learner, device.find(self.train.device))


def start_from(own: Policy, other: Policy) -> None:
    """Copy the acting networks' weights. What `other` knew of values is left: another learner scales them otherwise."""
    weights = {name: value for name, value in other.state_dict().items() if not name.startswith("critic.")}
    kept = {name: value for name, value in own.state_dict().items() if name.startswith("critic.")}
    own.load_state_dict(weights | kept)


def describe(environment: str, options: Mapping[str, Any]) -> EnvSpec:
    """An environment's description; others' are made once for it. UsageError on an unknown name or option."""
    if registry.is_external(environment):
        from environments.external import named

        return named.describe(environment, options)
    game = registry.game(environment)
    return game.spec(registry.check_options(game, dict(options)))


def made(
    environment: str,
    options: Mapping[str, Any],
    num_envs: int,
    seed: int,
    first_copy: int,
    threads: int,
    workers: int,
    max_faults: int = TrainConfig.max_faults,
    filmed: int = 0,
) -> VectorEnv:
    """Copies of an environment, ours on threads, others' in worker processes. UsageError on a bad name or option.

    Of others', the first `filmed` copies draw themselves, so that they can be recorded.
    """
    if registry.is_external(environment):
        from environments.external import named

        return named.batch(environment, num_envs, seed, first_copy, options, min(workers, num_envs), max_faults, filmed)
    return environments.make(environment, num_envs, seed, first_copy, num_threads=threads, **options)


def measured_copies(environment: str, episodes: int) -> int:
    """Copies that an evaluation of so many episodes steps at once."""
    from marl.evaluate import evaluation_copies

    most = COPIES if registry.is_external(environment) else episodes
    return min(evaluation_copies(episodes), most)


def _text(value: object) -> str:
    """The value, if it is text. TypeError otherwise."""
    if not isinstance(value, str):
        raise TypeError(f"text is wanted, not {value!r}")
    return value


def check_place(algorithm: settings.Algorithm, typed: settings.Settings) -> None:
    """UsageError where settings make it another algorithm."""
    if isinstance(typed, QConfig):
        others = {known.config.mixer: known.name for known in ALGORITHMS.values() if isinstance(known.config, QConfig)}
        asked = others[typed.mixer]
        require(asked == algorithm.name, f"{algorithm.name} with the mixer {typed.mixer} is {asked}: train that")
        return
    family = [known for known in ALGORITHMS.values() if known.family == algorithm.family]
    named = {known.critic for known in family}  # a critic that names none of the family is a setting like others
    critic = typed.critic if typed.critic in named else algorithm.critic
    place = (critic, getattr(typed, "order", algorithm.order))
    if place != (algorithm.critic, algorithm.order):
        known = [a.name for a in family if (a.critic, a.order) == place]
        changed = [asked for asked, own in zip(place, (algorithm.critic, algorithm.order), strict=True) if asked != own]
        own = f"{algorithm.name} has a {algorithm.critic} critic and updates agents {_spoken(algorithm.order)}"
        other = f"; with a {changed[0]} one it is" if changed[0] == typed.critic else f"; {_spoken(changed[0])} it is"
        require(False, own + (f"{other} {known[0]}" if known else "; no algorithm is what was asked for"))


def _groups(spec: EnvSpec, team: str) -> list[AgentGroup]:
    """Those of a kind of team."""
    return [spec.group(name) for name in spec.kind(team).groups]


def _fits_with(algorithm: settings.Algorithm, environment: str, options: Mapping[str, Any], team: str) -> bool:
    """Whether the algorithm could learn all actions of a kind of team, were these the environment's options."""
    try:
        return settings.unfit(algorithm.actions, _groups(describe(environment, options), team)) is None
    except UsageError:
        return False


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def begin(plan: Plan, folder: Path | None, command: list[str]) -> runs.Run:
    """Make the run's folder, with copies of the policies that the run starts from or plays against."""
    run = runs.create(folder, plan.to_json(), command)
    teams: dict[str, Learns | str] = {}
    for name, team in plan.teams.items():
        text = team if isinstance(team, str) else team.init
        if text is None or not players.is_file(text):
            teams[name] = team
            continue
        kept = f"{KEPT_PLAYERS}/{name}.safetensors"
        files.write_atomic(run.folder / kept, players.policy_file(text, name).read_bytes())
        teams[name] = kept if isinstance(team, str) else replace(team, init=kept)
    return runs.rewrite_config(run, replace(plan, teams=teams).to_json())


def of_run(run: runs.Run) -> Plan:
    """The plan of a run on disk. RefusedFile where its config is not one of ours."""
    plan = Plan.from_json(run.config)

    def found(text: str) -> str:
        return str(run.folder / text) if text.startswith(f"{KEPT_PLAYERS}/") else text

    teams = {
        name: found(team)
        if isinstance(team, str)
        else replace(team, init=None if team.init is None else found(team.init))
        for name, team in plan.teams.items()
    }
    return replace(plan, teams=teams)
