"""What an evaluation found, as plain data and as lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marl.statistics import Interval, mean_interval

if TYPE_CHECKING:
    from environments.replay import Replay
    from marl.evaluate import Evaluation

CONVENTION = "undiscounted returns summed over each team's agents; mean over episodes with its 95 % interval"


def to_json(measured: Evaluation, metrics: tuple[tuple[str, str], ...], **about: Any) -> dict[str, Any]:
    """Means and intervals by team, their sum, and what `about` says of how it was measured.

    `metrics` are the environment's (name, unit), one per column of the evaluation's.
    """
    returns = measured.returns
    return {
        "teams": {name: interval(mean_interval(returns[:, k])) for k, name in enumerate(measured.teams)},
        "sum": interval(mean_interval(returns.sum(1))),
        "episodes": len(returns),
        **about,
        "convention": CONVENTION,
        "episode_length": interval(mean_interval(measured.lengths)),
        "outcome": {name: interval(mean_interval(measured.outcomes[:, k])) for k, name in enumerate(measured.teams)},
        "metrics": {
            name: interval(mean_interval(measured.metrics[:, k])) | {"unit": unit}
            for k, (name, unit) in enumerate(metrics)
        },
    }


def describe(result: Mapping[str, Any]) -> list[str]:
    """The result in lines."""
    rows = {**result["teams"], **({"sum": result["sum"]} if len(result["teams"]) > 1 else {})}
    width = max(len(name) for name in (*rows, *result["metrics"]))
    choice = "greedy" if result["greedy"] else "sampled"
    trained = f", trained on reward {result['reward']}" if result.get("reward") else ""
    lines = [f"{result['scenario']}: {result['episodes']} episodes, {choice} actions, seed {result['seed']}{trained}"]
    lines += [_line(name, width, value, 2) for name, value in rows.items()]
    lines.append(f"  ({CONVENTION})")
    return lines + [f"{_line(name, width, value, 3)}   {value['unit']}" for name, value in result["metrics"].items()]


def _line(name: str, width: int, value: Mapping[str, Any], digits: int) -> str:
    """A name with its mean, in a column, and its interval where it is known."""
    low, high = (value[end] for end in ("low", "high"))
    spread = "" if low is None else f"   [{low:.{digits}f}, {high:.{digits}f}]"
    return f"  {name:{width}}  {value['mean']:9.{digits}f}{spread}"


def replay_files(folder: Path, name: str, episodes: int) -> list[Path]:
    """Files for the replays of an evaluation's first episodes: `name-K.replay`."""
    return [folder / f"{name}-{k}.replay" for k in range(episodes)]


def without_pictures(replays: Sequence[Replay]) -> str:
    """Why replays of somebody else's environment have no pictures, or not all; empty where they have."""
    said = [str(replay.header["no_pictures"]) for replay in replays if "no_pictures" in replay.header]
    return f"replays without pictures, or not to the end: {said[0]}" if said else ""


def interval(found: Interval) -> dict[str, float | None]:
    """Plain numbers; JSON has no infinity, so an unknown end is null."""
    ends = {"low": found.low, "high": found.high}
    return {"mean": found.mean, **{end: value if abs(value) < float("inf") else None for end, value in ends.items()}}
