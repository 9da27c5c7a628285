"""Every learner's updates are clean of devices: on one that is only pretended they neither fail nor give other numbers.

`test_device.py` runs these tests in a process of its own: torch looks for devices once, before its first gradient.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

import environments
import marl.device
from environments.errors import NumericalFailure
from league.store import Store
from marl import config as settings
from marl import policy
from marl.cli.main import main
from marl.config import ALGORITHMS
from marl.config_rollout import RolloutConfig
from marl.device import OnDevice
from marl.trainer import Trainer
from tests.gpu import pretended

SMALL: dict[str, Any] = {"hidden": (8, 8)}
ROLLOUT: dict[str, Any] = {"rollout_length": 8, "epochs": 1, "minibatches": 2}
REPLAY: dict[str, Any] = {"batch_size": 8, "warmup_steps": 16, "buffer_size": 64, "updates_per_step": 0.0625}
CONTINUOUS = {"continuous": True}
ALL = os.environ.get("EVERY_GAME") == "1"
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    name: (name, {}) for name in (ALGORITHMS if ALL else ("mappo", "hatrpo", "hasac", "hatd3", "qmix"))
}
CASES |= {
    "mappo, recurrent": ("mappo", {"recurrent": "gru", "chunk_length": 4}),
    "happo, vtrace, per minibatch": ("happo", {"returns": "vtrace", "advantage_norm": "minibatch"}),
    "ippo, nstep, fixpo": ("ippo", {"returns": "nstep", "trust_region": "fixpo"}),
    "vdn, recurrent": ("vdn", {"recurrent": "gru", "chunk_length": 4}),
}
FURTHER: dict[str, tuple[str, dict[str, Any]]] = {
    "mappo, continuous": ("mappo", CONTINUOUS | {"value_norm": True, "value_loss": "huber"}),
    "hasac, continuous": ("hasac", CONTINUOUS | {"drift": "kl", "value_norm": True}),
    "hasac, answering in a neighbourhood": (
        "hasac",
        {"later_agents": "answering", "expectation": "joint", "kl_radius": 0.01, "hidden": (8, 8)},
    ),
    "masac, droq": ("masac", {"critic_network": "droq"}),
    "isac, simba": ("isac", {"critic_network": "simba", "n_step": 3}),
}
CASES |= FURTHER if ALL else {}
"""One of each class of learners, and what else they may do; `make test-gpu` runs every algorithm, and more."""


@pytest.fixture(autouse=True)
def registered() -> None:
    """The device is there before the first gradient, whichever test comes first."""
    pretended.device()


def trained(case: str, device: torch.device | None) -> dict[str, Any]:
    """What a learner has after two iterations."""
    name, more = CASES[case]
    known = ALGORITHMS[name]
    continuous = more.get("continuous", "Discrete" not in known.actions)
    more = {key: value for key, value in more.items() if key != "continuous"}
    env = environments.make("particle/spread", 4, continuous_actions=continuous, max_cycles=5)
    rollout = isinstance(known.config, RolloutConfig)
    wanted = {**SMALL, **(ROLLOUT if rollout else REPLAY), **more}
    wanted |= {"minibatches": 1} if known.family == "a2c" else {}
    config = settings.changed(known.config, wanted)
    engine = {"engine": "torch"} if rollout else {}
    reward = "team_mean" if known.critic in ("sum", "monotone") else "agent"
    learner: Any = known.load()(env.spec, "team", config, reward, 3, 1, **engine)
    if device is not None:
        learner = OnDevice(learner, device)
    trainer = Trainer(env, {"team": learner}, {}, 10**6, 8, 3)
    told = [trainer.iteration() for _ in range(2)]
    return {"state": learner.state_dict(), "told": [{k: v for k, v in t.items() if "time" not in k} for t in told]}


def leaves(x: Any, path: str = "") -> dict[str, Any]:
    """Every tensor and number in it, by its path."""
    if isinstance(x, dict | list | tuple):
        pairs = x.items() if isinstance(x, dict) else enumerate(x)
        return {name: leaf for key, value in pairs for name, leaf in leaves(value, f"{path}/{key}").items()}
    return {path: x}


@pytest.mark.parametrize("case", CASES)
def test_an_update_on_another_device_is_the_same(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marl.device, "give", pretended.give)
    plain, other = (leaves(trained(case, device)) for device in (None, pretended.device()))
    assert plain.keys() == other.keys()
    for path, value in other.items():
        if isinstance(value, torch.Tensor):
            assert value.device.type == "cpu", path
            assert torch.allclose(value.double(), plain[path].double(), rtol=1e-6, atol=1e-7, equal_nan=True), path
        elif isinstance(value, float):
            assert value == pytest.approx(plain[path], rel=1e-5, nan_ok=True), path


def test_what_a_learner_made_before_it_failed_is_told_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marl.device, "give", pretended.give)

    class Fails:
        policy = None
        weights = torch.nn.Parameter(torch.ones(2))

        def __init__(self) -> None:
            self.own = [self.weights, self.weights.data[1].requires_grad_()]

        def update(self, rollout: Any, progress: float) -> dict[str, float]:
            assert self.own[0].device.type == rollout["obs"].device.type == torch.zeros(1).device.type == pretended.NAME
            self.own[1].data.mul_(3)
            raise NumericalFailure("not finite", {"batch": [torch.zeros(3), "more"]})

    learner: Any = Fails()
    with pytest.raises(NumericalFailure) as failure:
        OnDevice(learner, pretended.device()).update({"obs": torch.zeros(2)}, 0.0)  # type: ignore[arg-type]
    assert failure.value.batch["batch"][0].device.type == "cpu"  # type: ignore[index]
    assert learner.own[0].tolist() == [1.0, 3.0] and learner.own[1].device.type == "cpu"


def test_a_run_that_began_on_a_device_goes_on_without_it_bit_for_bit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marl.device, "give", pretended.give)
    monkeypatch.setattr(marl.device, "find", lambda name: pretended.device())
    shape = ["--num-envs", "4", "--rollout-length", "8", "--hidden", "8", "8", "--epochs", "1", "--minibatches", "2"]
    train = ["train", "mappo", "particle/spread", *shape, "--threads", "1", "--engine", "torch"]
    assert main([*train, "--run-dir", str(tmp_path / "a"), "--total-steps", "64"]) == 0
    assert main([*train, "--run-dir", str(tmp_path / "b"), "--total-steps", "32", "--device", "cuda"]) == 0
    assert "torch on cuda (compiled gradients are the processor's)" in capsys.readouterr().out
    assert main(["resume", str(tmp_path / "b"), "--total-steps", "64", "--device", "cpu"]) == 0
    assert "device: cuda -> cpu" in capsys.readouterr().out
    a, b = (policy.load(tmp_path / run / "policies" / "team.safetensors").state_dict() for run in "ab")
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_learners_of_a_league_and_an_exploiter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same snapshots as without it, bit for bit, and a league that began there goes on without it."""
    places: list[str] = []

    def give(x: torch.Tensor, data: torch.Tensor) -> None:
        places.append(data.device.type)
        pretended.give(x, data)

    monkeypatch.setattr(marl.device, "give", give)
    monkeypatch.setattr(marl.device, "find", lambda name: pretended.device())
    shape = ["--num-envs", "4", "--rollout-length", "12", "--hidden", "8", "--epochs", "1", "--minibatches", "2"]
    turns = ["--slice-steps", "48", "--snapshot-steps", "48", "--games", "2", "--engine", "torch", "--threads", "1"]
    league = ["league", "run", "board/tictactoe", *shape, *turns]
    assert main([*league, "--total-steps", "96", "--dir", str(tmp_path / "a")]) == 0
    assert not places
    assert main([*league, "--total-steps", "48", "--dir", str(tmp_path / "b"), "--device", "cuda"]) == 0
    assert "torch on cuda (compiled gradients are the processor's)" in capsys.readouterr().out
    assert pretended.NAME in places
    places.clear()
    assert main(["league", "resume", str(tmp_path / "b"), "--total-steps", "96", "--device", "cpu"]) == 0
    assert "device: cuda -> cpu" in capsys.readouterr().out and not places
    assert snapshots(tmp_path / "a") == snapshots(tmp_path / "b") and len(snapshots(tmp_path / "a")) == 3
    words = ["--budget", "48", "--games", "2", "--threads", "1", "--dir", str(tmp_path / "c"), "--device", "cuda:1"]
    assert main(["league", "exploit", f"league:{tmp_path / 'a'}/main-0", *shape, *words]) == 0
    assert "torch on cuda:1" in capsys.readouterr().out and pretended.NAME in places


def snapshots(league: Path) -> dict[str, Any]:
    """The digests of a league's snapshots, by their names."""
    with Store(league) as store:
        return {each.name: each.snapshots for each in store.players().values() if each.kind == "historical"}
