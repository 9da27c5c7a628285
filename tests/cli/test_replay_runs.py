"""Learners from a replay buffer, from the command line: they train, go on, are measured and seen, start from each
other's weights, and refuse in one line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from environments import replay
from marl import policy, runs
from marl.cli.main import main
from marl.config import ALGORITHMS, changed
from marl.config_replay import DDPGConfig, QConfig, SACConfig
from marl.policy_spec import read_spec
from tests.cli.test_train import goes_on_alike, measured

BRIEF = ["--num-envs", "4", "--rollout-length", "25", "--hidden", "8", "--threads", "1", "--batch-size", "32"]
BOXES = ["--env.continuous-actions", "true"]


@dataclass(frozen=True)
class Kind:
    """A learner of a family, its settings and what a run of it shows: 100 steps an iteration, some updates in each."""

    words: tuple[str, ...]
    steps: int
    every: int
    """Steps between checkpoints."""
    updates: list[float]
    remembered: list[float]
    loss: str


KINDS = {
    "hasac": Kind(
        (*BOXES, "--n-step", "3", "--warmup-steps", "150", "--buffer-size", "400"),
        900,
        300,
        [0.0] + [5.0] * 8,
        [100, 200, 300, 400, 400, 400, 400, 400, 400],  # the ring of memories goes round
        "critic_loss",
    ),
    "hatd3": Kind(
        (*BOXES, "--warmup-steps", "100", "--buffer-size", "1000", "--updates-per-step", "0.03"),
        400,
        200,
        [3.0] * 4,
        [100, 200, 300, 400],
        "critic_loss",
    ),
    "qmix": Kind(
        (
            *("--warmup-steps", "100", "--buffer-size", "1000"),
            *("--updates-per-step", "0.03", "--epsilon-steps", "200"),
        ),
        400,
        200,
        [3.0] * 4,
        [100, 200, 300, 400],
        "value_loss",
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def spread(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, kind = tmp_path_factory.mktemp("runs") / "spread", KINDS[name]
    more = ["--total-steps", str(kind.steps), "--checkpoint-every", str(kind.every), "--run-dir", str(folder)]
    assert main(["train", name, "particle/spread", *BRIEF, *kind.words, *more]) == 0
    return folder


def test_a_new_process_resumes_a_run_bit_for_bit(name: str, spread: Path, tmp_path: Path) -> None:
    kind = KINDS[name]
    goes_on_alike(spread, tmp_path / "again", kind.steps, kind.steps - kind.every, "team")


def test_it_learns_on_schedule(name: str, spread: Path) -> None:
    rows, kind = measured(spread), KINDS[name]
    assert [row["team/updates"] for row in rows] == kind.updates
    assert [row["team/remembered"] for row in rows] == kind.remembered
    assert all((f"team/{kind.loss}" in row) is (count > 0) for row, count in zip(rows, kind.updates, strict=True))
    assert rows[1][f"team/{kind.loss}"] > 0


def test_it_is_measured_recorded_loaded_and_watched(
    name: str, spread: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(spread), "--episodes", "4", "--threads", "1", "--record", "1"]
    assert main([*words, "--greedy", "true"]) == 0
    assert "4 episodes, greedy actions" in capsys.readouterr().out
    (path,) = spread.rglob("*.replay")
    assert replay.load(path).steps == 25
    file = runs.open_run(spread).policy("team")
    about = read_spec(file)[0].about
    assert (about["algorithm"], about["steps"]) == (name, KINDS[name].steps)
    spec = policy.load(file).spec
    if name == "qmix":
        assert spec.epsilon == 0.05
        assert main(["evaluate", str(spread), "--episodes", "4", "--threads", "1"]) == 0
        assert "sampled actions" in capsys.readouterr().out
    else:
        assert spec.box == {"hasac": "squashed", "hatd3": "deterministic"}[name]
    picture = tmp_path / "frame.png"
    assert main(["watch", str(spread), "--png", "3", "--panel", "true", "--out", str(picture)]) == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"


HEIRS = {
    "hasac": ("masac", ["--parameters", "per_agent"]),
    "hatd3": ("matd3", ["--parameters", "per_agent", "--critic", "local"]),
    "qmix": ("vdn", ["--warmup-steps", "500"]),
}
STRANGERS = {
    "hasac": (
        ["mappo", *BOXES, "--parameters", "per_agent", "--activation", "relu"],
        "draws squashed Box actions; mappo needs gaussian ones",
    ),
    "hatd3": (["hasac", *BOXES], "draws deterministic Box actions; hasac needs squashed ones"),
    "qmix": (["mappo", "--activation", "relu"], "gives values of actions; mappo needs probabilities"),
}


def test_weights_go_to_learners_of_their_family_alone(
    name: str, spread: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A local critic, parameters apart are settings like others."""
    start = runs.open_run(spread).policy("team")
    heir, more = HEIRS[name]
    words = [*BRIEF, *KINDS[name].words, *more, "--init", str(start), "--total-steps", "100"]
    assert main(["train", heir, "particle/spread", *words, "--run-dir", str(tmp_path / "next")]) == 0
    if name == "qmix":  # all of it was warm-up
        kept, own = (
            torch.cat([x.flatten() for x in policy.load(file).state_dict().values()])
            for file in (start, runs.open_run(tmp_path / "next").policy("team"))
        )
        assert torch.equal(kept, own)
    capsys.readouterr()
    (stranger, *rest), told = STRANGERS[name]
    assert main(["train", stranger, "particle/spread", "--hidden", "8", "--init", str(start), *rest]) == 3
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("hasac --order at_once", "updates agents agent by agent; at once it is masac"),
        ("masac --critic local", "has a central critic and updates agents at once; with a local one"),
        ("hasac --parameters shared", "agent by agent needs --parameters per_agent"),
        ("hasac --env.continuous-actions true --expectation joint", "has continuous actions"),
        ("hasac --buffer-size 100", "a rollout has 1024 samples: set --buffer-size"),
        ("isac --critic-temperature team", "a local critic has no team temperature"),
        ("hasac --polyak 0", "--polyak must be above 0"),
        ("hasac --updates-per-step inf", "--updates-per-step must be above 0 and finite, not inf"),
        ("hasac --buffer-size 1000000000000", "a replay buffer of 1000000000000 samples of 'team' needs"),
        ("hatd3 --order at_once", "hatd3 has a central critic and updates agents agent by agent; at once it is matd3"),
        ("maddpg --order agent_by_agent", "maddpg has a central critic and updates agents at once; agent by agent it"),
        ("haddpg --env.continuous-actions true --buffer-size 10", "a rollout has 1024 samples: set --buffer-size"),
        ("matd3 --policy-delay 0", "--policy-delay must be at least 1"),
        ("matd3 --temperature 1", "unknown option"),
        ("qmix --reward agent", "each earn their own reward"),
        ("vdn --reward agent", "set --reward team_sum or team_mean, or train with iql"),
        ("qmix --env.continuous-actions true", "qmix cannot learn Box actions, which 'agent_0' has"),
        ("iql --env.continuous-actions true", "or set --env.continuous-actions false"),
        ("qmix --mixer sum", "qmix with the mixer sum is vdn: train that"),
        ("iql --mixer monotone", "iql with the mixer monotone is qmix"),
        ("vdn --final-epsilon 1.5", "--final-epsilon must be 0 to 1"),
        ("vdn --target-period 0", "--target-period must be at least 1"),
        ("qmix --mixer-hidden 0", "--mixer-hidden must be widths of 1 to 65536, not 0"),
        ("qmix --temperature 1", "unknown option"),
        ("qmix --engine fused", "qmix has no compiled gradients"),
        ("qmix --buffer-size 100", "a rollout has 1024 samples: set --buffer-size"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, *rest = words.split()
    assert main(["train", first, "particle/spread", *rest]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_a_memory_too_small_is_refused_before_anything_is_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    """Where agents wait for one another, and where self-play makes one team's learner play another's."""
    for words, told in (
        ("board/tictactoe --rollout-length 1 --num-envs 2", "a sequence of 2 steps has 8 samples"),
        ("matrix/matching_pennies --rollout-length 3 --num-envs 2 --self-play true", "a rollout has 12 samples"),
    ):
        assert main(["train", "hasac", *words.split(), "--buffer-size", "7"]) == 2
        said = capsys.readouterr()
        assert said.err == f"marl: {told}: set --buffer-size to that or more\n" and not said.out


@pytest.mark.parametrize("name", ["maddpg", "matd3", "haddpg", "hatd3"])
def test_discrete_actions_are_refused_in_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", name, "particle/spread"]) == 2
    told = capsys.readouterr().err.strip()
    assert "\n" not in told and f"{name} cannot learn Discrete actions, which 'agent_0' has (Discrete(5))" in told
    ways = ", ".join(known.name for known in ALGORITHMS.values() if "Discrete" in known.actions)
    assert "mappo" in ways and "hatd3" not in ways
    assert f"train with {ways}, or set --env.continuous-actions true" in told
    assert main(["train", name, "matrix/climbing"]) == 2
    told = capsys.readouterr().err.strip()
    assert f"train with {ways}" in told and "set --env" not in told


def test_the_grid_names_what_each_algorithm_is() -> None:
    for name in ("isac", "masac", "hasac", "maddpg", "matd3", "haddpg", "hatd3"):
        known = ALGORITHMS[name]
        soft = name.endswith("sac")
        assert isinstance(known.config, SACConfig if soft else DDPGConfig)
        assert known.load().__name__ == ("SAC" if soft else "DDPG")
        assert (known.critic, known.order) == (known.config.critic, known.config.order)
    for name, critic, mixer in (("iql", "local", "none"), ("vdn", "sum", "sum"), ("qmix", "monotone", "monotone")):
        known = ALGORITHMS[name]
        assert known.config == QConfig(mixer=mixer) and known.load().__name__ == "QLearning"
        assert (known.critic, known.order, known.actions) == (critic, "at_once", ("Discrete", "MultiDiscrete"))
    assert changed(ALGORITHMS["hasac"].config, {"n_step": 3}).n_step == 3
