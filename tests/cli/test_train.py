"""Training from the command line: runs end as they should, whatever happens, and go on as if nothing had."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from environments.errors import RefusedFile, UsageError
from marl import checkpoint, files, runs
from marl.cli import loop, plan, side_by_side, train
from marl.cli.main import main
from marl.cli.stop import Interrupted, Stop
from marl.metrics.weights_and_biases import WeightsAndBiases
from marl.policy_spec import read_spec

SMALL = ["--num-envs", "4", "--rollout-length", "25", "--hidden", "8", "--threads", "1"]
"""100 steps an iteration."""
TIMES = ("time/collect", "time/update", "time/total", "time/recording")


def marl(*words: str, scenario: str = "particle/spread", algorithm: str = "mappo") -> int:
    return main(["train", algorithm, scenario, *SMALL, *words])


def steps(run: Path) -> list[int]:
    return [row["step"] for row in runs.read_metrics(runs.open_run(run))]


def measured(run: Path) -> list[dict[str, float]]:
    rows = runs.read_metrics(runs.open_run(run))
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def content(path: Path) -> tuple[dict[str, object], bytes]:
    """A safetensors file's header, whose entries stand in any order, and its data."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def goes_on_alike(whole: Path, again: Path, last: int, kept: int, team: str) -> None:
    """Without its last checkpoint a run resumes in a new process from the one before, and ends as it ended."""
    shutil.copytree(whole, again)
    lost = f"checkpoints/{last:015d}"
    shutil.rmtree(again / lost)
    command = [sys.executable, "-m", "marl.cli.main", "resume", str(again)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"resumed at step {kept}" in done.stdout
    assert measured(again) == measured(whole)
    arrays = f"{lost}/arrays.safetensors"
    assert files.sha256(again / arrays) == files.sha256(whole / arrays)
    own = [content(runs.open_run(run).policy(team)) for run in (whole, again)]
    assert own[0] == own[1]


@pytest.fixture(scope="module")
def tag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two teams with two learners: 6 iterations, a checkpoint after each second one."""
    folder = tmp_path_factory.mktemp("runs") / "tag"
    more = ["--team", "good=ippo,learning_rate=1e-3,hidden=[4,4]", "--total-steps", "600", "--checkpoint-every", "200"]
    assert marl(*more, "--run-dir", str(folder), scenario="particle/tag") == 0
    return folder


def test_a_run_is_complete_on_disk(tag: Path) -> None:
    run = runs.open_run(tag)
    assert steps(tag) == [100, 200, 300, 400, 500, 600]
    assert checkpoint.find(run.checkpoints).step == 600
    assert json.loads((tag / "manifest.json").read_text())["command"][0] == "marl"
    stored = plan.of_run(run)
    assert stored.learners["adversary"].algorithm == "mappo" and stored.learners["good"].algorithm == "ippo"
    good = stored.learners["good"].config
    assert (good.learning_rate, good.hidden, good.critic, good.rollout_length) == (1e-3, (4, 4), "local", 25)
    assert stored.reward == "agent"
    for team, algorithm in (("adversary", "mappo"), ("good", "ippo")):
        about = read_spec(run.policy(team))[0].about
        assert (about["algorithm"], about["scenario"], about["steps"]) == (algorithm, "particle/tag", 600)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tag: Path, tmp_path: Path) -> None:
    """The last checkpoint is lost; the one before it is found, aloud, and a new process does the rest again."""
    again = tmp_path / "again"
    shutil.copytree(tag, again)
    lost = again / "checkpoints" / "000000000000600"
    shutil.rmtree(lost)
    command = [sys.executable, "-m", "marl.cli.main", "resume", str(again)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "the checkpoint of step 600 is damaged" in done.stderr and "resumed at step 400" in done.stdout
    assert measured(again) == measured(tag)
    arrays = f"checkpoints/{lost.name}/arrays.safetensors"
    assert files.sha256(again / arrays) == files.sha256(tag / arrays)
    for team in ("adversary", "good"):
        assert content(runs.open_run(again).policy(team)) == content(runs.open_run(tag).policy(team))


def test_what_is_not_the_runs_is_refused(tag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    shutil.copytree(tag, other)
    config = json.loads((other / "config.json").read_text())
    config["teams"]["good"]["settings"]["hidden"] = [5]
    config["train"]["total_steps"] = 700
    (other / "config.json").write_text(json.dumps(config))
    assert main(["resume", str(other)]) == 3
    assert "does not fit this run" in capsys.readouterr().err
    for newest in (other / "checkpoints").glob("*/tree.json"):
        newest.write_bytes(newest.read_bytes()[:-9])
    assert main(["resume", str(other)]) == 3
    assert "holds no checkpoint that can be read" in capsys.readouterr().err
    config["teams"]["good"]["settings"]["hiden"] = [5]
    (other / "config.json").write_text(json.dumps(config))
    assert main(["resume", str(other)]) == 3
    assert "hiden" in capsys.readouterr().err


def test_a_finished_run_says_so_and_can_be_made_longer(
    tag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    longer = tmp_path / "longer"
    shutil.copytree(tag, longer)
    assert main(["resume", str(longer)]) == 0
    assert "is finished: 600 of 600 steps" in capsys.readouterr().out
    assert main(["resume", str(longer), "--total-steps", "800"]) == 0
    told = capsys.readouterr().out
    assert (
        "total_steps: 600 -> 800" in told
        and "max_minutes" not in told
        and f"marl evaluate {longer}" in told
        and f"marl watch {longer}" in told
    )
    assert steps(longer)[-2:] == [700, 800]
    watch, told = ["watch", str(longer), "--png", "0", "--out", str(tmp_path / "a.png")], "has no replay yet"
    assert main(watch) == 0 and told in capsys.readouterr().out
    assert len(list((longer / "replays").iterdir())) == 1
    assert main(watch) == 0 and told not in capsys.readouterr().out


def test_a_run_that_is_at_work_is_left_alone(tag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(tag, copied)
    before = (copied / "config.json").read_bytes()
    lock = runs.Lock(runs.open_run(copied))
    assert main(["resume", str(copied), "--total-steps", "5000"]) == 2
    assert "is in use by another process" in capsys.readouterr().err
    lock.release()
    assert main(["resume", str(copied), "--total-steps", "0"]) == 2
    assert "--total-steps must be at least 1, not 0" in capsys.readouterr().err
    assert (copied / "config.json").read_bytes() == before


def test_a_run_whose_checkpoints_are_gone_begins_again_and_says_so(
    tag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(tag, copied)
    shutil.rmtree(copied / "checkpoints")
    assert main(["resume", str(copied)]) == 0
    assert "beginning again at step 0, without 6 measurements" in capsys.readouterr().out
    assert measured(copied) == measured(tag)


def test_policies_that_a_kill_left_behind_are_written_again(tag: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(tag, copied)
    policy_file = runs.open_run(copied).policy("good")
    before = content(policy_file)
    policy_file.unlink()
    assert main(["resume", str(copied)]) == 0
    assert content(policy_file) == before


def test_frozen_players_and_starting_weights_are_kept_with_the_run(tag: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    source = tmp_path / "adversary.safetensors"
    shutil.copy(runs.open_run(tag).policy("adversary"), source)
    teams = ["--team", f"good={tag}", "--init", str(source)]
    more = ["--total-steps", "100", "--learning-rate", "0", "--run-dir", str(folder)]
    assert marl(*teams, *more, scenario="particle/tag") == 0
    stored = plan.of_run(runs.open_run(folder))
    source.unlink()  # what the run needs is in its folder
    assert stored.teams["good"] == str(folder / "players" / "good.safetensors")
    assert "good/loss" not in measured(folder)[0] and "adversary/loss" in measured(folder)[0]
    from marl import policy

    began, ended = (policy.load(run / "policies" / "adversary.safetensors") for run in (tag, folder))
    for name, value in began.actors.state_dict().items():
        assert value.equal(ended.actors.state_dict()[name])
    stored.build()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--team", "good={adversary}"], "cannot play 'good'"),
        (["--init", "{adversary}", "--hidden", "9"], "has hidden"),
        (["--init", "{adversary}", "--env.num_adversaries", "2"], "cannot play 'adversary'"),
    ],
)
def test_spaces_that_do_not_match_are_refused(
    words: list[str], message: str, tag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adversary = str(runs.open_run(tag).policy("adversary"))
    filled = [word.format(adversary=adversary) for word in words]
    assert marl(*filled, "--run-dir", str(tmp_path / "run"), scenario="particle/tag") == 3
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def start(*words: str) -> subprocess.Popen[str]:
    """A command with the signals of a terminal's, even if these tests run under `nohup` or in the background."""

    def heed() -> None:
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)

    command = [sys.executable, "-m", "marl.cli.main", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=heed)


def wait_for(condition: object, process: subprocess.Popen[str]) -> None:
    assert callable(condition)
    for _ in range(4800):
        if condition():
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError("nothing happened for four minutes")


def test_kills_and_signals_cost_nothing_that_was_saved(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    made = ["train", "mappo", "particle/spread", *SMALL, "--checkpoint-every", "100", "--run-dir", str(folder)]
    process = start(*made)
    index = folder / "checkpoints" / "index.json"
    wait_for(lambda: index.exists() and len(checkpoint._listed(index.parent)[0]) == 3, process)
    process.kill()
    process.communicate()
    saved = checkpoint.find(index.parent, say=pytest.fail).step
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGHUP, 75)):
        before = steps(folder)[-1]  # a kill may come between a measurement and its checkpoint
        process = start("resume", str(folder))
        wait_for(lambda before=before: steps(folder)[-1:] > [before], process)
        asked = time.monotonic()
        process.send_signal(number)
        told = process.communicate(timeout=120)[0]
        assert process.returncode == code, told
        assert time.monotonic() - asked < 40  # seconds: also on a busy machine
        assert f"resumed at step {saved}" in told and f"marl resume {folder}" in told
        assert steps(folder) == list(range(100, steps(folder)[-1] + 1, 100))
        saved = checkpoint.find(index.parent, say=pytest.fail).step
        assert saved == steps(folder)[-1]


def test_under_nohup_a_lost_terminal_is_ignored_and_an_interrupt_is_not() -> None:
    """`nohup marl train ... &` goes on when its terminal is closed, and a shell's `&` alone ignores SIGINT."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGINT)}
    try:
        stop = Stop()
        with stop.watching():
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.code is None
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.code == 130
            stop.in_time()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_the_second_signal_ends_the_process_at_once() -> None:
    code = (
        "import os, signal, time\nfrom marl.cli.stop import Stop\nstop = Stop()\n"
        "with stop.watching():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    print(stop.code, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (75, "75\n")
    assert "saving first" in done.stderr


def test_a_run_without_a_checkpoint_offers_no_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, trainer = runs.Run(tmp_path, {}), SimpleNamespace(steps=100, total_steps=1000, finished=False)
    loop.print_what_next(run, cast(Any, trainer))
    told = capsys.readouterr().out
    assert f"marl resume {tmp_path}  (from its start" in told and "evaluate" not in told
    run.checkpoints.mkdir()
    loop.print_what_next(run, cast(Any, trainer))
    assert f"marl evaluate {tmp_path}" in capsys.readouterr().out


def test_an_iteration_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marl.cli.stop.PATIENCE", 0.1)
    before = signal.getsignal(signal.SIGINT)
    stop = Stop()
    with pytest.raises(Interrupted), stop.watching():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)
    assert stop.code == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_an_evaluation_that_takes_too_long_loses_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(session: loop.Session, record: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)

    monkeypatch.setattr("marl.cli.stop.PATIENCE", 0.1)
    monkeypatch.setattr(loop.Session, "evaluate_and_record", slow)
    folder = tmp_path / "run"
    assert marl("--eval-every", "300", "--run-dir", str(folder)) == 75
    assert checkpoint.find(folder / "checkpoints").step == 300


def test_nan_stops_with_the_batch_and_the_last_good_state(
    tag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tag, broken)
    config = json.loads((broken / "config.json").read_text())
    config["teams"]["adversary"]["settings"] |= {"learning_rate": 1e38, "max_grad_norm": 1e38}
    config["train"]["total_steps"] = 1000
    (broken / "config.json").write_text(json.dumps(config))
    before = files.sha256(broken / "checkpoints" / "index.json")
    assert main(["resume", str(broken)]) == 4
    told = capsys.readouterr().err
    assert "is not finite" in told and f"the batch is in {broken / 'failure'}" in told
    assert f"the checkpoint of step 600 is safe: marl resume {broken}" in told
    assert files.sha256(broken / "checkpoints" / "index.json") == before


def test_nan_from_the_first_update(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert marl("--learning-rate", "1e38", "--max-grad-norm", "1e38", "--run-dir", str(folder)) == 4
    told = capsys.readouterr().err
    assert "is not finite" in told and f"the batch is in {folder / 'failure'}" in told
    assert "no checkpoint was written yet" in told
    _, dumped = checkpoint.load(folder / "failure")
    assert dumped["batch"]
    assert not (folder / "checkpoints").exists()


def test_a_full_disk_is_exit_5_and_names_what_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    real, calls = files.write_synced, [0]

    def write(path: Path, data: bytes) -> None:
        calls[0] += path.name == checkpoint.TREE
        if calls[0] > 1:
            raise OSError(28, "No space left on device")
        real(path, data)

    monkeypatch.setattr(files, "write_synced", write)
    assert marl("--total-steps", "300", "--checkpoint-every", "100", "--run-dir", str(folder)) == 5
    told = capsys.readouterr().err
    assert "No space left on device" in told and told.count("step 100 is safe") == 1
    assert f"marl resume {folder}" in told
    monkeypatch.setattr(files, "write_synced", real)
    assert main(["resume", str(folder)]) == 0
    assert steps(folder) == [100, 200, 300]


def test_time_is_up(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert marl("--max-minutes", "1e-9", "--run-dir", str(folder)) == 0
    assert checkpoint.find(folder / "checkpoints").step < 10**7
    assert main(["resume", str(folder), "--total-steps", "100"]) == 0
    assert steps(folder)[-1] >= 100


def test_evaluations_replays_and_services_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")  # W&B's process ends at once: nobody is to notice
    shown: list[tuple[str, str]] = []
    monkeypatch.setattr(WeightsAndBiases, "artifact", lambda self, path, kind: shown.append((path.name, kind)))
    folder = tmp_path / "run"
    often = ["--eval-every", "200", "--eval-episodes", "4", "--record", "1", "--wandb", "--tensorboard"]
    assert marl(*often, "--total-steps", "400", "--run-dir", str(folder)) == 0
    rows = measured(folder)
    assert ["eval/return" in row for row in rows] == [False, True, False, True]
    assert (folder / "replays" / "step-000000000200-0.replay").exists(), "for those who follow the run"
    assert main(["verify", str(folder)]) == 0
    assert "exact" in capsys.readouterr().out
    assert any((folder / "tensorboard").iterdir())
    film = "step-000000000400-0.gif"
    assert (
        shown == [("team.safetensors", "policy"), (film, "gif")] and (folder / "replays" / film).stat().st_size > 1000
    )


def test_recording_does_not_slow_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert marl("--total-steps", "100", "--run-dir", str(folder), "--eval-record", "2", "--eval-episodes", "3") == 0
    run = runs.open_run(folder)
    session = loop.Session(run, plan.of_run(run), cast(Any, None), cast(Any, None))
    assert session._recordable() == 2
    session.recording = 1.0
    assert session._recordable() == 0, "it took more than its share"
    session._started -= 51.0
    assert session._recordable() == 2


def test_evaluations_may_be_greedy(tmp_path: Path) -> None:
    """Then each of a game without observations is one entry of its table again and again; sampled ones are not."""
    entries = {2.0 * 25 * x for x in (11, -30, 0, 7, 6, 5)}
    often = ["--eval-every", "500", "--eval-episodes", "20", "--eval-record", "0", "--num-envs", "4", "--threads", "1"]
    for greedy in ("true", "false"):
        folder, more = tmp_path / greedy, ["--eval-greedy", greedy, "--total-steps", "512"]
        words = [*often, *more, "--rollout-length", "128", "--run-dir", str(folder)]
        assert main(["train", "ippo", "matrix/climbing", *words]) == 0
        assert (measured(folder)[-1]["eval/return"] in entries) == (greedy == "true")


def test_evaluation_changes_nothing(tmp_path: Path) -> None:
    kept = []
    for name, more in (("with", ["--eval-every", "100", "--eval-episodes", "2"]), ("without", [])):
        assert marl("--total-steps", "200", "--run-dir", str(tmp_path / name), *more) == 0
        entry = checkpoint.find(tmp_path / name / "checkpoints")
        kept.append(files.sha256(entry.folder / checkpoint.ARRAYS))
    assert kept[0] == kept[1]


def test_several_seeds_side_by_side(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "seeds"
    assert marl("--seeds", "2", "--seed", "5", "--total-steps", "200", "--run-dir", str(folder)) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["seed-5", "seed-6"]
    assert [runs.open_run(folder / name).seed for name in ("seed-5", "seed-6")] == [5, 6]
    assert steps(folder / "seed-5") == steps(folder / "seed-6") == [100, 200]
    assert measured(folder / "seed-5") != measured(folder / "seed-6")
    told = capfd.readouterr().out
    assert f"marl plot {folder}" in told and "seed-5" in told
    assert marl("--seeds", "2", "--run-dir", str(folder)) == 2
    assert main(["resume", str(folder)]) == 0  # all of them; they are finished
    assert main(["resume", str(folder), "--total-steps", "0"]) == 2
    assert main(["resume", str(folder), "--total-steps", "300"]) == 0
    assert steps(folder / "seed-5") == steps(folder / "seed-6") == [100, 200, 300]


def test_lines_of_a_run_are_taken_whatever_the_screen_and_the_disk_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose lines nobody takes would wait for ever once the pipe is full."""
    reader, writer = os.pipe()
    os.close(reader)
    lines = io.StringIO("one\ntwo\nthree\n")
    with open(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        side_by_side._show(tmp_path / "no" / "folder", lines)
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)
    assert lines.read() == ""


def test_steps_decide_when_something_is_due() -> None:
    assert [loop._due(a, a + 100, 250) for a in range(0, 600, 100)] == [False, False, True, False, True, False]
    assert not loop._due(0, 100, None)
    assert loop._due(0, 1000, 10)


def test_a_preset_sets_defaults_and_what_is_typed_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {("mappo", "particle/spread"): {"fast": {"num_envs": 8, "gamma": 0.9}}}
    monkeypatch.setattr("scenarios.presets.PRESETS", table)
    parsed = train.parse(["mappo", "particle/spread", "--preset", "fast", "--gamma", "0.8"])
    assert parsed.plan.train.num_envs == 8 and parsed.plan.learners["team"].config.gamma == 0.8
    assert parsed.plan.preset == "fast"
    assert plan.Plan.from_json(json.loads(json.dumps(parsed.plan.to_json()))) == parsed.plan


@pytest.mark.parametrize(
    "change",
    [{"teams": {}}, {"teams": {"team": {"player": 5}}}, {"options": []}, {"reward": "xx"}, {"train": {"seed": -1}}],
)
def test_a_config_edited_by_hand_is_refused(change: dict[str, object]) -> None:
    made = train.parse(["mappo", "particle/spread"])
    assert made is not None
    with pytest.raises(RefusedFile, match="config cannot be read"):
        plan.Plan.from_json({**made.plan.to_json(), **change})


def test_what_an_algorithm_cannot_learn_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from marl.config import ALGORITHMS

    monkeypatch.setitem(ALGORITHMS, "mappo", replace(ALGORITHMS["mappo"], actions=("Box",)))
    with pytest.raises(UsageError, match="mappo cannot learn Discrete actions, which 'agent_0' has"):
        train.parse(["mappo", "particle/spread"])
