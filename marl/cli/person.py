"""A person among the players of a tournament: the matches are played in a thread, the window is in the main one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from environments.errors import UsageError
from environments.replay import Replay
from environments.spec import AgentGroup, EnvSpec
from environments.vector import Array, VectorEnv
from viz.table import AtTable, Left, Table

if TYPE_CHECKING:
    from marl.acting import Actor

Result = TypeVar("Result")
PATIENCE = 5.0
"""Seconds for a match among others to end when the window is closed; what is not recorded is played again later."""


def kinds(spec: EnvSpec) -> list[str]:
    """Kinds of team that a person can play: those with one agent. UsageError where there are none."""
    sizes = {
        kind: sum(len(agents) for agents in spec.members(team).values()) for team, kind in enumerate(spec.team_kinds)
    }
    found = [kind for kind, size in sizes.items() if size == 1]
    if not found:
        raise UsageError(f"a person plays one agent, and every team of {spec.name} has more")
    return found


class AtKeyboard:
    """A `league.contest.Person` whose window shows a `viz.table.Table`."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def sit(self, env: VectorEnv, team: int) -> Actor:
        """An actor that asks at the table."""
        from marl.asked import AskedActor

        groups = [group for group in env.spec.groups if group.name in env.spec.kind(env.spec.team_kinds[team]).groups]
        (agent,) = (agent for agents in env.spec.members(team).values() for agent in agents)
        self.table.begin(agent)

        def ask(group: AgentGroup, n: int, obs: Array, mask: Array | None) -> Any:
            return self.table.ask(env, mask)

        return AskedActor(groups, ask)

    def told(self, replay: Replay) -> None:
        """Show the end of a match."""
        from viz.moment import ReplayMoments

        self.table.end(ReplayMoments(replay)[replay.steps])


def while_watching(
    scenario: str, environment: str, options: Mapping[str, Any], agent: str, play: Callable[[AtKeyboard], Result]
) -> Result:
    """What `play` returns, which is called in a thread while the main one shows the window, titled as the scenario is.

    Closing the window interrupts: KeyboardInterrupt. UsageError where there is no display.
    """
    import environments
    from viz.moment import live_moment
    from viz.screen.window import watch

    first = live_moment(environments.parallel_env(environment, **options).vector, 0)
    table = Table(replace(first, scenario=scenario), agent)
    results: list[Result] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(play(AtKeyboard(table)))
        except BaseException as error:
            errors.append(error)
        finally:
            table.close()

    thread = threading.Thread(target=work, name="matches", daemon=True)
    thread.start()
    try:
        watch(AtTable(table), f"{scenario} — {agent}")
    finally:
        table.leave()
        thread.join(PATIENCE)
    if errors or not results:
        raise KeyboardInterrupt if not errors or isinstance(errors[0], Left) else errors[0]
    return results[0]
