"""What if, in the viewer's window: a key that offers who could go on from the shown frame, and shows what follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import environments
from environments.bots import plays
from environments.errors import MarlError
from environments.replay import Replay
from marl.cli import company, fork, play, players
from viz.menu import Entry, Menu
from viz.ready import Ready
from viz.shown import Extra, Shown
from viz.viewer import Viewer

KEY = "w"
SEEDS = 2**31


def extra(path: Path, replay: Replay, others: Sequence[str] = ()) -> Extra:
    """The key of a viewer that shows `replay`; `others` are PLAYERs who may be chosen too."""
    return Extra(KEY, "what if others went on, or you", partial(ask, path, replay, others))


def ask(path: Path, replay: Replay, others: Sequence[str], viewer: Viewer) -> Shown:
    """Who could go on from the frame that a viewer shows; to find that out may take a while."""
    viewer.playback.pause()
    step = viewer.playback.frame
    make = partial(menu, path, replay, others, step, viewer.selected)
    return Ready(f"what if — from step {step}", make, _apart(replay))


def _apart(replay: Replay) -> bool:
    """True where a thread of its own may make the environment: somebody else's is drawn in the thread that made it."""
    return ":" not in replay.spec.name


def menu(path: Path, replay: Replay, others: Sequence[str], step: int, selected: int | None = None) -> Menu:
    """Who could go on from a frame; of agents, the selected one comes first."""
    rows = list(replay.spec.agents)
    if selected is not None:
        rows.insert(0, rows.pop(selected))
    try:
        told = [why for _, why in company.stand_ins(replay, fork.spec_of(replay), path).values()]
    except MarlError as error:
        refused = [Entry(str(error))]
        return Menu(f"what if — from step {step}", lambda: refused)
    hint = "; ".join([*told, f"the fork goes to {fork.name_of(path, step)}"])
    found = entries(path, replay, step, others, rows)
    return Menu(f"what if — from step {step}", lambda: found, hint, leave=True, apart=_apart(replay))


def entries(path: Path, replay: Replay, step: int, others: Sequence[str], agents: Sequence[str]) -> list[Entry]:
    """A person for each agent, others for each kind of team, and the same players with other luck."""
    found = [Entry("you play, the others go on")]
    found += [
        Entry(agent, company.own_team(replay.spec, agent), partial(_by_hand, path, replay, step, agent), slow=True)
        for agent in agents
    ]
    found.append(Entry("others play"))
    for kind in replay.spec.kinds:
        for text in candidates(path, replay, kind.name, others):
            team = f"{kind.name}={text}"
            does = partial(_by_others, path, replay, step, others, (team,))
            found.append(Entry(f"{kind.name} is played by", text, does, slow=True))
    does = partial(_by_others, path, replay, step, others, ())
    found.append(Entry("the same players, other luck", "", does, slow=True))
    return found


def candidates(path: Path, replay: Replay, kind: str, others: Sequence[str]) -> list[str]:
    """PLAYERs that may be chosen for a kind of team: given ones, the run's newest policy, bots, chance."""
    names = [text for text in others if "=" not in text]
    names += [text.partition("=")[2] for text in others if text.partition("=")[0] == kind]
    run = path.parent.parent
    if (run / "policies" / f"{kind}.safetensors").exists():
        names.append(str(run))
    names += [f"{players.BOT}{name}" for name in environments.bots() if plays(name, replay.spec.name)]
    return [*dict.fromkeys(names), players.RANDOM]


def _by_hand(path: Path, replay: Replay, step: int, agent: str) -> Shown:
    match = fork.match_of(replay, path, _teams(path, replay, ()), agent)
    key, greedy = company.acting(replay) or (0, False)
    return play.fork_by_hand(match, replay, step, agent, key, greedy, fork.name_of(path, step), 1.0, False)


def _teams(path: Path, replay: Replay, chosen: Sequence[str]) -> tuple[str, ...]:
    """NAME=PLAYER for the chosen, and for those who cannot go on as they were."""
    taken = {text.partition("=")[0] for text in chosen}
    own = dict(zip(replay.spec.team_names, replay.spec.team_kinds, strict=True))
    found = company.stand_ins(replay, fork.spec_of(replay), path)
    return (
        *(f"{team}={text}" for team, (text, _) in found.items() if not {team, own[team]} & taken),
        *chosen,
    )


def _by_others(path: Path, replay: Replay, step: int, others: Sequence[str], teams: tuple[str, ...]) -> Shown:
    """The fork, beside its parent, from where they part."""
    match = fork.match_of(replay, path, _teams(path, replay, teams), None)
    key, greedy = company.acting(replay) or (0, False)
    out = fork.name_of(path, step)
    if not teams:
        from marl.seeding import derive

        key, greedy = derive(key % SEEDS, "fork", out.name), False
    made = replace(fork.play_on(match, replay, step, key, greedy), vouched=replay.vouched)
    made.save(out)
    shown = Viewer(made, other=replay, names=(f"fork at {step}", "as recorded"), extras=[extra(out, made, others)])
    shown.playback.seek(step)
    return shown
