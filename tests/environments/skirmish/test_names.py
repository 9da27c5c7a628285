"""Names that say a battle, the scenarios' options, and the bot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import environments
from environments.errors import UsageError
from environments.games.skirmish.units import UNITS, Roster
from environments.registry import meaning
from marl.cli import train
from marl.cli.main import main
from scenarios import catalog
from tests.environments.skirmish import battles


@pytest.mark.parametrize(
    ("name", "allies", "enemies"),
    [
        ("3m", "3 marine", "3 marine"),
        ("5m_vs_6m", "5 marine", "6 marine"),
        ("3s5z_vs_3s6z", "3 stalker, 5 zealot", "3 stalker, 6 zealot"),
        ("MMM2", "1 medivac, 2 marauder, 7 marine", "1 medivac, 3 marauder, 8 marine"),
        ("6h_vs_8z", "6 hydralisk", "8 zealot"),
        ("random-10v11", "10 random", "11 random"),
    ],
)
def test_a_name_says_both_sides(name: str, allies: str, enemies: str) -> None:
    game, options = meaning(f"skirmish/{name}")
    assert game == "skirmish/battle"
    assert (options["allies"], options["enemies"]) == (allies, enemies)


def test_scenarios_are_what_their_names_say() -> None:
    named = [scenario for name, scenario in catalog.SCENARIOS.items() if name.startswith("skirmish/")]
    assert len(named) == 9
    for scenario in named:
        assert (scenario.environment, dict(scenario.options)) == meaning(scenario.name)


@pytest.mark.parametrize("name", ["3x", "m3", "3m_vs", "MMM3", "random-5", "moon-5v5", ""])
def test_a_name_that_means_nothing_is_told_what_does(name: str) -> None:
    with pytest.raises(UsageError, match="skirmish names are skirmish/battle and those like skirmish/3m"):
        environments.make(f"skirmish/{name}")


@pytest.mark.parametrize(
    "words", [["skirmish/0m"], ["skirmish/65m"], ["skirmish/3m", "--env.allies", "3 marin"], ["skirmish/random-5v0"]]
)
def test_the_command_line_refuses_impossible_battles(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "mappo", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and ("64" in said or "did you mean 'marine'" in said)


@pytest.mark.parametrize(("opponent", "teams"), [("weak", ["ally"]), ("team", ["ally", "enemy"]), ("self", ["side"])])
def test_every_team_of_the_options_gets_a_learner(opponent: str, teams: list[str]) -> None:
    words = ["mappo", "skirmish/3m", "--env.opponent", opponent]
    assert list(train.parse(words).plan.teams) == teams


def test_twenty_seven_a_side() -> None:
    env = battles.make("zerg-27v27", 2)
    assert len(env.spec.agents) == 27 and env.spec.groups[0].action_space.n == 32
    rng = np.random.default_rng(0)
    over = sum(int(env.step(battles.approaching(env, rng)).episode_over.sum()) for _ in range(150))
    assert over > 0


@pytest.mark.parametrize(("name", "low", "high"), [("3m", 0.42, 0.6), ("MMM", 0.4, 0.6)])
def test_the_bot_is_the_weak_opponents_equal(name: str, low: float, high: float) -> None:
    """It sees less and does the same; legal moves only, and each row for itself."""
    env, bot = battles.make(name, 256), environments.bot("skirmish/nearest")
    rng = np.random.default_rng(4)
    scores: list[float] = []
    for _ in range(220):
        group = env.buffers.groups[0]
        obs, mask = (
            group.obs.reshape(-1, group.obs.shape[-1]),
            group.action_mask.reshape(-1, group.action_mask.shape[-1]),
        )
        noise = rng.random(len(obs), np.float32)
        chosen = bot(obs, mask, noise)
        assert chosen.dtype == np.int32 and mask[np.arange(len(obs)), chosen].all()
        assert np.array_equal(bot(obs[7:9], mask[7:9], noise[7:9]), chosen[7:9])
        out = env.step({"ally": chosen.reshape(256, -1)})
        scores += out.outcome[out.episode_over, 0].tolist()
    assert len(scores) > 500 and low < np.mean(scores) < high


def test_the_bot_strikes_the_nearest_and_walks_to_it() -> None:
    bot = environments.bot("skirmish/nearest")

    def chosen(x: list[float], y: list[float]) -> int:
        group = battles.Lab("2 marine", "2 marine", x=x, y=y).env.buffers.groups[0]
        return int(bot(group.obs[0, :1], group.action_mask[0, :1], np.zeros(1, np.float32))[0])

    assert chosen([0, 9, 4, 3], [0, 9, 0, 0]) == battles.AIM + 1
    assert chosen([0, 9, 8, 2], [0, 9, 0, 8]) == battles.FORWARD  # at 8.0, not at 8.2
    assert chosen([0, 9, 9, 2], [0, 9, 0, 8]) == battles.UP
    assert chosen([0, 9, 12, 12], [0, 9, 9, 8]) == battles.FORWARD  # nobody in sight
    with pytest.raises(UsageError, match="plays only skirmish"):
        bot(np.zeros((1, 7), np.float32), np.ones((1, 8), bool), np.zeros(1, np.float32))
    with pytest.raises(UsageError, match="plays only skirmish"):
        bot(np.zeros((1, 24), np.float32), None, np.zeros(1, np.float32))


def test_types_come_in_the_tables_order() -> None:
    assert Roster.of(meaning("skirmish/MMM")[1] | {"urn": "1 zealot"}).types == ("marine", "marauder", "medivac")


def test_the_page_has_every_unit_as_it_is() -> None:
    page = Path(__file__).parents[3] / "docs" / "environments" / "skirmish.md"
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.read_text().splitlines() if "|" in line]
    told = {row[0]: row[1:] for row in rows if row[0] in UNITS}
    for name, unit in UNITS.items():
        said = [float(cell or 0) for cell in told[name][:7]]
        own = (unit.health, unit.shield, unit.damage, unit.cooldown, unit.range, unit.sight, unit.speed)
        assert said == list(own), name
        assert (f"heals {unit.heal:g}" in told[name][7]) == (unit.heal > 0), name
        assert (f"within {unit.splash:g}" in told[name][7]) == (unit.splash > 0), name
