"""The command line as a whole: help is quick, mistakes are one line and cost nothing."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from environments import registry
from marl.cli import main as cli
from marl.cli.plan import Plan
from marl.config import ALGORITHMS
from scenarios import catalog

MISTAKES = [
    ("trian", "unknown command 'trian'; did you mean 'train'?"),
    ("train", "train needs ALGORITHM and SCENARIO first"),
    ("train mapo particle/spread", "unknown algorithm 'mapo'; did you mean 'mappo'?"),
    ("train mappo particle/spred", "unknown scenario 'particle/spred'; did you mean 'particle/spread'?"),
    ("train mappo arena.py", "'arena.py' is a file: arena.py:OBJECT names the class or function in it"),
    ("train mappo nope", "and 51 more; marl list scenarios names all"),
    ("train mappo particle/tag --team good=no.safetensors", "policy file or bot: there is no such file"),
    ("tournament board/tictactoe random no.py:Bot", "no.py:Bot cannot be used: there is no file no.py"),
    ("watch . --gif a.gif", "there is no replay in ., and no run"),
    ("train mappo particle/spread --num-env 3", "unknown option --num-env; did you mean --num-envs?"),
    ("train mappo particle/spread --env.M 3", "unknown option --env.M; known: --env.N, --env.continuous-actions, "),
    ("train mappo particle/spread --run.hiden 3", "unknown option --run.hiden; did you mean --hidden?"),
    ("train mappo particle/spread --total.steps 3", "unknown option --total.steps; did you mean --total-steps?"),
    ("train mappo particle/spread --x 3", "unknown option --x; --help lists all"),
    ("train mappo particle/spread --env.N 0", "--env.N must be a whole number from 1 to 256, not 0"),
    ("train mappo particle/spread --num-envs 0", "--num-envs must be 1 to 1048576, not 0"),
    ("train mappo particle/spread --num-envs 1M --rollout-length 65536", "65536 steps needs"),
    ("train mappo particle/spread --hidden 65536 65536 65536", "the networks of 'team' with hidden layers"),
    ("train mappo particle/spread --num-envs 1 --rollout-length 2 --minibatches 3", "2 samples cannot be cut into 3"),
    ("train mappo particle/spread --gamma 1.5", "--gamma must be 0 to 1, not 1.5"),
    ("train mappo particle/spread --preset tunned", "no preset 'tunned' for mappo in particle/spread"),
    ("train mappo particle/spread --critic local", "with a local one it is ippo"),
    ("train mappo particle/tag --team goof=ippo", "particle/tag has no team 'goof'; did you mean 'good'?"),
    (
        "train mappo particle/tag --team good=ipo",
        "no algorithm, run, policy file or bot; did you mean 'ippo'?",
    ),
    ("train mappo particle/tag --team good=ippo,gama=1", "unknown setting 'gama'; did you mean 'gamma'?"),
    ("train mappo particle/tag --team good=ippo,rollout_length=7", "rollout_length is the same for all teams"),
    ("train mappo particle/tag --team good=random --team adversary=random", "there is nothing to train"),
    ("train mappo particle/tag --team good=ippo --team good=random", "--team names the team 'good' twice"),
    ("train mappo particle/spread --init /", "--init takes a policy's file, and / is a folder"),
    ("train mappo particle/spread --reward x", "--reward cannot be 'x'; known: agent, team_mean, team_sum"),
    ("train mappo particle/spread --seeds 0", "--seeds must be 1 to 1000, not 0"),
    ("evaluate nowhere", "there is no run, policy or scenario 'nowhere'"),
    ("evaluate particle/spred", "did you mean 'particle/spread'?"),
    ("evaluate particle/spread --episodes 0", "--episodes must be 1 to 100000000, not 0"),
    ("evaluate particle/spread --team tem=random", "particle/spread has no team 'tem'; did you mean 'team'?"),
    ("evaluate particle/spread --team team=nobody", "unknown player 'nobody'"),
    ("evaluate particle/tag --team good=random --team good=random", "--team names the team 'good' twice"),
    ("evaluate", "POLICY is missing"),
    ("list runs --folder nowhere", "there is no folder nowhere"),
    ("resume nowhere", "there is no run at nowhere"),
    ("plot nowhere --out a.png", "there is no run at nowhere"),
    ("compare", "compare needs the folders of runs"),
    ("bench envs", "WHAT cannot be 'envs'; did you mean env?"),
    ("bench train arena.py:Line", "marl bench env arena.py:Line"),
    ("bench env particle/spred", "did you mean 'particle/spread'?"),
    ("tournament particle/tag a b --games 3", "--games must be even"),
    ("tournament particle/tag a b --most-games 1", "--most-games must be 2 to"),
    ("list things", "known: algorithms, bots, runs, scenarios"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_a_mistake_is_one_line_and_exit_2(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words.split()) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("marl: ") and said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def in_one_process(commands: list[list[str]], folder: Path) -> subprocess.CompletedProcess[str]:
    """Commands one after the other in a new process, whose last line tells their codes and what of torch is loaded."""
    code = (
        "import sys; from marl.cli.main import main\n"
        "codes = [main(words) for words in eval(sys.argv[1])]\n"
        "print(codes, [name for name in ('torch', 'torch._dynamo') if name in sys.modules])"
    )
    call = [sys.executable, "-c", code, repr(commands)]
    return subprocess.run(call, capture_output=True, text=True, check=True, cwd=folder)


def test_foreign_files_are_exit_3_before_torch_is_imported(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"schema": 1}')
    commands = [
        ["evaluate", str(foreign)],
        ["train", "mappo", "particle/spread", "--init", str(foreign)],
        ["train", "mappo", "particle/tag", "--team", f"good={foreign}"],
        ["resume", str(other)],
        ["evaluate", str(other)],
        ["verify", str(foreign)],
    ]
    done = in_one_process(commands, tmp_path)
    assert done.stdout == f"{[3] * len(commands)} []\n"
    assert done.stderr.count("\n") == len(commands)


def test_training_and_measuring_never_import_torchs_compiler(tmp_path: Path) -> None:
    """It takes as long as all else that is imported together."""
    small = ["--total-steps", "800", "--num-envs", "4", "--batch-size", "8", "--warmup-steps", "100"]
    commands = [
        ["train", "hasac", "matrix/climbing", *small, "--threads", "1", "--run-dir", "soft"],
        ["train", "ippo", "matrix/climbing", "--total-steps", "512", "--num-envs", "4", "--run-dir", "rolled"],
        ["evaluate", "soft", "--episodes", "4"],
        ["evaluate", "rolled", "--episodes", "4"],
    ]
    done = in_one_process(commands, tmp_path)
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 0] ['torch']", done.stderr


def test_a_bug_is_one_line_unless_debugged(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(words: list[str]) -> int:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(cli, "_dispatch", broken)
    assert cli.main(["list"]) == 1
    assert capsys.readouterr().err == "marl: a bug, sorry: ZeroDivisionError: division by zero; --debug shows where\n"
    with pytest.raises(ZeroDivisionError):
        cli.main(["list", "--debug"])


def test_what_environments_say_is_shown_by_commands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("environments.native")
    for _ in range(2):
        with cli._telling():
            log.info("compiling")
        log.info("by whoever only uses the packages")
    assert capsys.readouterr() == ("", "compiling\ncompiling\n")


def test_sigterm_before_there_is_anything_to_save(monkeypatch: pytest.MonkeyPatch) -> None:
    def terminated(words: list[str]) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("went on")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(cli, "_dispatch", terminated)
    assert cli.main(["train"]) == 75
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("end", "code", "word"), [(KeyboardInterrupt, 130, "interrupted"), (cli.Terminated, 75, "terminated")]
)
def test_a_run_that_is_interrupted_before_it_trains_can_be_resumed(
    end: type[BaseException], code: int, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(plan: Plan) -> None:
        raise end

    run = tmp_path / "a run"
    small = ["--total-steps", "16", "--num-envs", "2", "--rollout-length", "8", "--hidden", "8"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plan, "build", interrupted)
        assert cli.main(["train", "ippo", "particle/spread", "--run-dir", str(run), *small]) == code
    assert capsys.readouterr().err == f"marl: {word}; go on with marl resume '{run}'\n"
    assert cli.main(["resume", str(run)]) == 0 and "(16 of 16 steps)" in capsys.readouterr().out


def test_every_command_exists_and_has_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main([]) == 2
    assert cli.main(["--help"]) == 0
    told = capsys.readouterr().out
    for name, command in cli.COMMANDS.items():
        assert f"  {name:10} {command.summary}" in told
        assert cli.main([name, "--help"]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"usage: marl {name}") and "(default: )" not in shown and "[[" not in shown
        assert "\n\n\n" not in shown
        if "╭" in shown:
            assert max(map(len, shown.splitlines())) == 80, "text and boxes are as wide as each other"


@pytest.mark.parametrize("words", ["train", "league", "league run", "league exploit"])
def test_help_of_two_stages_is_no_wider_than_the_terminal(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[int, str] = {}
    for columns in (80, 500):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert cli.main([*words.split(), "--help"]) == 0
        told[columns] = capsys.readouterr().out
    narrow = [line for line in told[80].splitlines() if not line.startswith("  marl ")]  # commands are to be copied
    assert max(map(len, narrow)) <= 80 < max(map(len, told[500].splitlines()))
    assert told[80].split() == told[500].split()
    if words == "train":
        assert "\n" + " " * len("  happo    ") + "weighing what the last have changed\n" in told[80]


def test_help_of_train_shows_settings_and_environment_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "mappo", "particle/spread", "--help"]) == 0
    told = capsys.readouterr().out
    for option in (
        "--total-steps INT",
        "--learning-rate FLOAT",
        "--env.N INT",
        "--env.local-ratio",
        "--team",
        "--preset",
    ):
        assert option in told
    assert told.index("--total-steps INT") < told.index("--self-play true|false") < told.index("--seeds none|INT")


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "scenarios", "--json", str(tmp_path / "s.json")]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in catalog.SCENARIOS) and len(told.splitlines()) == len(catalog.SCENARIOS) + 1
    assert '"reward": "team_mean"' in (tmp_path / "s.json").read_text()
    assert cli.main(["list", "algorithms"]) == 0
    grid = {line.split()[0]: line.split(None, 1)[1] for line in capsys.readouterr().out.splitlines()}
    assert grid.keys() == {"algorithm", *ALGORITHMS}
    assert grid["algorithm"].split() == ["family", "critic", "sharing", "order", "actions", "recurrent", "about"]
    for name, row in (
        ("isac", "sac local either at_once Discrete MultiDiscrete Box no"),
        ("hasac", "sac central per_agent agent_by_agent Discrete MultiDiscrete Box no"),
        ("maddpg", "ddpg central either at_once Box no"),
        ("hatd3", "td3 central per_agent agent_by_agent Box no"),
        ("qmix", "q monotone either at_once Discrete MultiDiscrete yes"),
    ):
        assert " ".join(grid[name].split()).startswith(f"{row} "), grid[name]
    assert cli.main(["list", "runs", "--folder", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no runs in {tmp_path}\n"


def cpu_seconds(*command: str) -> float:
    """Least processor time of two runs: other work on the machine does not count."""
    times = []
    for _ in range(2):
        process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        times.append(used.ru_utime + used.ru_stime)
    return min(times)


def test_help_is_quick() -> None:
    """Half a second, one and a half for `train A S`, where importing numpy takes 0.14: as ratios."""
    numpy = cpu_seconds("-c", "import numpy")
    assert cpu_seconds("-m", "marl.cli.main", "--help") < 1.5 * numpy
    for name in ("train", "evaluate", "watch"):
        assert cpu_seconds("-m", "marl.cli.main", name, "--help") < 3.5 * numpy, name
    assert cpu_seconds("-m", "marl.cli.main", "train", "mappo", "particle/spread", "--help") < 10 * numpy


def test_the_catalog_has_no_environment_that_cannot_be_made() -> None:
    assert {scenario.environment for scenario in catalog.SCENARIOS.values()} <= set(registry.names())
