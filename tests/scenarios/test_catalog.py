"""Every scenario names an environment as it is; presets are settings that exist."""

from __future__ import annotations

import subprocess
import sys

import pytest

import environments
from environments.errors import UsageError
from environments.registry import check_options
from marl.config import ALGORITHMS, TrainConfig, changed, fields
from scenarios import catalog, presets
from scenarios.scenario import Scenario


def test_every_environment_that_ships_has_its_scenario() -> None:
    assert {scenario.environment for scenario in catalog.SCENARIOS.values()} == set(environments.names())


@pytest.mark.parametrize("scenario", catalog.SCENARIOS.values(), ids=lambda s: s.name)
def test_a_scenario_says_what_its_environment_is(scenario: Scenario) -> None:
    game = environments.game(scenario.environment)
    spec = game.spec(check_options(game, dict(scenario.options)))
    assert tuple(kind.name for kind in spec.kinds) == scenario.teams
    assert spec.max_steps in (None, scenario.horizon)
    assert scenario.summary and len(scenario.summary) < 80


def test_rewards_are_the_teams_where_the_game_is_about_the_team() -> None:
    tables = [s for s in catalog.SCENARIOS.values() if s.name.startswith(("matrix/", "particle/"))]
    shared = {s.name.split("/")[1] for s in tables if s.reward == "team_mean"}
    shared -= {name.split("/")[1] for name in catalog.SCENARIOS if name.startswith("skirmish/")}
    assert shared == {"spread", "reference", "speaker_listener", "formation", "line", "climbing", "penalty"}
    assert {s.reward for s in catalog.SCENARIOS.values()} == {"team_mean", "agent"}


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'particle/spread'"):
        catalog.find("particle/spred")
    with pytest.raises(UsageError, match=r"no preset 'x' for mappo in particle/simple; it has none"):
        presets.find("mappo", "particle/simple", "x")


def test_presets_are_settings_that_exist() -> None:
    run = {field.name for field in fields(TrainConfig)}
    for (algorithm, scenario), table in presets.PRESETS.items():
        catalog.find(scenario)
        for name, settings in table.items():
            assert presets.find(algorithm, scenario, name) is settings
            changed(TrainConfig(), {k: v for k, v in settings.items() if k in run})
            changed(ALGORITHMS[algorithm].config, {k: v for k, v in settings.items() if k not in run})


def test_reading_the_catalog_needs_nothing_heavy() -> None:
    code = "import sys, scenarios.catalog, scenarios.presets; print(sorted({'numpy', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
