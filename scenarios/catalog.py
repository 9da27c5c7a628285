"""Every scenario that ships, in one literal table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from environments.errors import UsageError, nearest
from scenarios.scenario import Scenario


def _matrix(
    name: str, summary: str, teams: tuple[str, ...] = ("team",), reward: Literal["agent", "team_mean"] = "agent"
) -> Scenario:
    return Scenario(f"matrix/{name}", summary, f"matrix/{name}", teams, reward, horizon=25)


def _particle(
    name: str, summary: str, teams: tuple[str, ...] = ("team",), reward: Literal["agent", "team_mean"] = "agent"
) -> Scenario:
    return Scenario(f"particle/{name}", summary, f"particle/{name}", teams, reward, horizon=25)


def _board(name: str, summary: str, horizon: int, **options: int) -> Scenario:
    environment = "board/hex" if options else f"board/{name}"
    return Scenario(f"board/{name}", summary, environment, ("player",), "agent", horizon, options)


def _skirmish(name: str, summary: str, allies: str = "", enemies: str = "", start: str = "") -> Scenario:
    said = {"allies": allies, "enemies": enemies or allies, "start": start}
    options = {option: value for option, value in said.items() if value}
    return Scenario(f"skirmish/{name}", summary, "skirmish/battle", ("ally",), "team_mean", 100, options)


def _foraging(name: str, summary: str, size: int, players: int, food: int, **more: Any) -> Scenario:
    options = {"rows": size, "columns": size, "players": players, "food": food, **more}
    return Scenario(f"foraging/{name}", summary, "foraging/field", ("team",), "team_mean", 50, options)


def _warehouse(name: str, summary: str, rows: int, columns: int, robots: int, requests: int) -> Scenario:
    options = {"shelf_rows": rows, "shelf_columns": columns, "n_agents": robots, "request_queue_size": requests}
    return Scenario(f"warehouse/{name}", summary, "warehouse/robots", ("team",), "agent", 500, options)


def _colorgrid(name: str, summary: str, **options: Any) -> Scenario:
    return Scenario(f"colorgrid/{name}", summary, "colorgrid/leader_follower", ("team",), "agent", 128, options)


def _roshambo(name: str, summary: str, **options: Any) -> Scenario:
    return Scenario(f"roshambo/{name}", summary, "roshambo/repeated", ("player",), "agent", 1000, options)


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        _colorgrid("leader_follower", "gather blocks of a colour that changes and that only the leader knows"),
        _colorgrid(
            "stationary",
            "gather blocks of a colour that both know and that never changes",
            knows_goal="both",
            random_goal=False,
            switch_probability=0.0,
        ),
        _board("tictactoe", "three in a row; both seats learn from every game", 9),
        _board("connect_four", "four in a row with stones that fall", 42),
        _board("hex", "connect your two edges of hexagons, 5 x 5 or --env.size", 25),
        *(_board(f"hex-{n}", f"connect your edges of {n} x {n} hexagons", n * n, size=n) for n in (3, 5, 7, 9, 11)),
        Scenario("foraging/field", "food on a field of your own", "foraging/field", ("team",), "team_mean", 50),
        _foraging("8x8-2p-2f", "two players load two pieces of food, alone or together", 8, 2, 2),
        _foraging("8x8-2p-2f-coop", "two players must load all food together", 8, 2, 2, coop=True),
        _foraging("2s-8x8-2p-2f-coop", "the same, seeing only two cells far", 8, 2, 2, sight=2, coop=True),
        _foraging("10x10-3p-3f", "three players, three pieces of food", 10, 3, 3),
        _foraging("2s-10x10-3p-3f", "three players who see only two cells far", 10, 3, 3, sight=2),
        _foraging("15x15-3p-5f", "three players, five pieces of food far apart", 15, 3, 5),
        _foraging("15x15-4p-3f", "four players, three pieces of food", 15, 4, 3),
        _foraging("15x15-4p-5f", "four players, five pieces of food", 15, 4, 5),
        _warehouse("robots", "fetch shelves on a floor as --env.shelf-rows and others say", 1, 3, 2, 2),
        _warehouse("tiny-2ag", "two robots, two shelves asked for at a time", 1, 3, 2, 2),
        _warehouse("tiny-2ag-easy", "two robots, four shelves asked for", 1, 3, 2, 4),
        _warehouse("tiny-2ag-hard", "two robots, one shelf asked for", 1, 3, 2, 1),
        _warehouse("tiny-4ag", "four robots, four shelves asked for at a time", 1, 3, 4, 4),
        _warehouse("tiny-4ag-easy", "four robots, eight shelves asked for", 1, 3, 4, 8),
        _warehouse("tiny-4ag-hard", "four robots, two shelves asked for", 1, 3, 4, 2),
        _warehouse("small-4ag", "four robots on twice the floor", 2, 3, 4, 4),
        _warehouse("small-4ag-easy", "four robots on twice the floor, eight shelves asked for", 2, 3, 4, 8),
        _warehouse("small-4ag-hard", "four robots on twice the floor, two shelves asked for", 2, 3, 4, 2),
        _warehouse("medium-4ag", "four robots on three times the floor", 2, 5, 4, 4),
        _warehouse("medium-6ag", "six robots on three times the floor", 2, 5, 6, 6),
        _warehouse("large-4ag", "four robots on four times the floor", 3, 5, 4, 4),
        _warehouse("large-8ag", "eight robots on four times the floor", 3, 5, 8, 8),
        Scenario("memory/recall", "name a sign that was shown 20 steps ago", "memory/recall", ("team",), "agent", 21),
        _matrix("climbing", "the way to the best joint action leads past the worst", reward="team_mean"),
        _matrix("penalty", "two best joint actions that must not be mixed up, and a safe one", reward="team_mean"),
        _matrix("prisoners_dilemma", "betraying pays whatever the other does, and both lose by it"),
        _matrix("stag_hunt", "much together, or something certain alone"),
        _matrix("matching_pennies", "one wants the same side of the coin, the other not", ("even", "odd")),
        _matrix("game", "any table of payoffs, given as --env.payoff"),
        _particle("simple", "one agent goes to a landmark"),
        _particle("adversary", "two find the goal, a third guesses it from them", ("adversary", "good")),
        _particle("crypto", "a message for a friend that an eavesdropper must not read", ("eve", "allies")),
        _particle("push", "one goes to the goal, another keeps it away", ("adversary", "good")),
        _particle("reference", "each tells the other where to go", reward="team_mean"),
        _particle("speaker_listener", "one speaks, the other must go where it is told", reward="team_mean"),
        _particle("spread", "cover all landmarks without colliding", reward="team_mean"),
        _particle("tag", "slow hunters catch a fast runner among obstacles", ("adversary", "good")),
        _particle("world_comm", "tag with food, forests and a leader who speaks", ("adversary", "good")),
        _particle("formation", "stand evenly on a circle around a landmark", reward="team_mean"),
        _particle("line", "stand evenly on the line between two landmarks", reward="team_mean"),
        _particle("collect_treasure", "collectors bring treasures to the deposits of their colours"),
        _skirmish("battle", "any two sides of units, given as --env.allies and --env.enemies"),
        _skirmish("3m", "three marines a side", "3 marine"),
        _skirmish("8m", "eight marines a side", "8 marine"),
        _skirmish("2s3z", "two stalkers and three zealots a side", "2 stalker, 3 zealot"),
        _skirmish("5m_vs_6m", "five marines against six", "5 marine", "6 marine"),
        _skirmish("10m_vs_11m", "ten marines against eleven", "10 marine", "11 marine"),
        _skirmish("MMM", "marines, marauders and a healer a side", "1 medivac, 2 marauder, 7 marine"),
        _skirmish("random-5v5", "five units a side, drawn by lot in every episode", "5 random", start="scattered"),
        _skirmish("random-10v10", "ten units a side, drawn by lot in every episode", "10 random", start="scattered"),
        _roshambo("repeated", "a thousand throws of rock, paper, scissors against another learner"),
        _roshambo("population", "a thousand throws against a bot drawn from seventeen", opponent="population"),
    )
}
"""Scenario by name."""


def find(name: str) -> Scenario:
    """The scenario of that name; where the name says an environment's options, its game's, with them.

    Somebody else's environment (a name with a colon) is one too; its teams are in its spec. UsageError on an unknown
    name names the nearest.
    """
    if ":" in name:
        return Scenario(name, "somebody else's environment", name, (), "agent", 0)
    if name in SCENARIOS:
        return SCENARIOS[name]
    from environments.registry import meaning, says_options

    if name.endswith(".py"):
        raise UsageError(f"{name!r} is a file: {name}:OBJECT names the class or function in it")
    if not says_options(name):
        raise UsageError(f"unknown scenario {name!r}{nearest(name, SCENARIOS, 'marl list scenarios')}")
    game, options = meaning(name)
    return replace(SCENARIOS[game], name=name, options=options)
