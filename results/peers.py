"""Other people's environments that are known to work: each examined by the doctor and trained on for 2,000 steps.

    python results/peers.py            all of them, into results/peers/; rows that are there are left
    python results/peers.py --again    all of them anew

A row says what was found: agents, groups, whether an episode can be played again, the doctor's faults, failures while
training, seconds. Exit code 1 where something failed.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOME = Path(__file__).parent / "peers"
STEPS = 2000
MAMUJOCO = "pettingzoo:gymnasium_robotics.mamujoco_v1"


@dataclass(frozen=True)
class Peer:
    """Somebody else's environment, and how it is trained on here."""

    name: str
    kind: str
    """parallel, turns, masks, deaths, image, mujoco or grid."""
    options: dict[str, Any] = field(default_factory=dict)
    wrap: tuple[str, ...] = ()
    algorithm: str = "ippo"
    steps: int = 200
    """Steps of every check of the doctor's."""

    @property
    def title(self) -> str:
        """Its name and options, fit for a file."""
        words = [self.name.partition(":")[2], *map(str, self.options.values())]
        return "-".join(words).replace(".", "-").replace("/", "-")


SMALL = ("color_reduction", "resize:42x42", "frame_stack:2")
PARTICLES = (
    "simple_v3", "simple_adversary_v3", "simple_crypto_v3", "simple_push_v3", "simple_reference_v3",
    "simple_speaker_listener_v4", "simple_spread_v3", "simple_tag_v3", "simple_world_comm_v3", "simple_formation_v1",
    "simple_line_v1", "collect_treasure_v1",
)  # fmt: skip
PEERS = (
    *(Peer(f"pettingzoo:mpe2.{name}", "parallel") for name in PARTICLES),
    Peer("pettingzoo:butterfly.knights_archers_zombies_v11", "deaths", {"max_cycles": 200}),
    Peer("pettingzoo:butterfly.pistonball_v6", "image", {"n_pistons": 4, "max_cycles": 50}, SMALL, steps=30),
    Peer("pettingzoo:butterfly.cooperative_pong_v6", "image", {"max_cycles": 50}, SMALL, steps=60),
    Peer("pettingzoo:classic.tictactoe_v3", "masks"),
    Peer("pettingzoo:classic.connect_four_v3", "masks"),
    Peer("pettingzoo:classic.leduc_holdem_v4", "masks"),
    Peer("pettingzoo:classic.chess_v6", "masks", steps=600),
    Peer("pettingzoo:sisl.pursuit_v5", "parallel", {"max_cycles": 50}, steps=60),
    Peer("pettingzoo:sisl.multiwalker_v9", "parallel", {"max_cycles": 50}, steps=100),
    Peer("pettingzoo:magent2.environments.battle_v4", "deaths", {"map_size": 16, "max_cycles": 50}, steps=60),
    Peer(MAMUJOCO, "mujoco", {"scenario": "HalfCheetah", "agent_conf": "2x3"}, algorithm="hasac", steps=1010),
    Peer(MAMUJOCO, "mujoco", {"scenario": "Ant", "agent_conf": "4x2"}, steps=1010),
    Peer(MAMUJOCO, "mujoco", {"scenario": "Walker2d", "agent_conf": "2x3"}),
    Peer("gymnasium:Foraging-8x8-2p-3f-v3", "grid"),
    Peer("gymnasium:rware-tiny-2ag-v2", "grid", {"max_steps": 100}),
)
"""Every environment that is tried."""


def measure(peer: Peer, steps: int = STEPS) -> dict[str, Any]:
    """The row of one environment: what the doctor says, and a short training."""
    from environments.external import check, named
    from marl.cli.main import main
    from marl.runs import open_run, read_metrics

    started = time.perf_counter()
    given = {**peer.options, **({named.WRAP: list(peer.wrap)} if peer.wrap else {})}
    spec = named.describe(peer.name, given)
    found = check.examine(named.made_by(peer.name, given), peer.name, steps=peer.steps)
    told = [finding for finding in found if finding.wrong]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = ["train", peer.algorithm, peer.name, "--run-dir", str(run), "--total-steps", str(steps)]
        words += ["--num-envs", "4", "--rollout-length", "50", "--hidden", "32", "--threads", "1", "--workers", "2"]
        words += [word for wrap in peer.wrap for word in ("--wrap", wrap)]
        words += [f"--env.{name}={json.dumps(value)}" for name, value in peer.options.items()]
        code = main(words)
        rows = read_metrics(open_run(run)) if code == 0 else []
    return {
        "environment": peer.name,
        "kind": peer.kind,
        "options": peer.options,
        "wrap": list(peer.wrap),
        "algorithm": peer.algorithm,
        "agents": len(spec.agents),
        "groups": {group.name: [str(group.observation_space.shape), str(group.action_space)] for group in spec.groups},
        "repeats_itself": spec.can_capture,
        "doctor": [str(finding) for finding in told if not finding.advice],
        "notes": [str(finding) for finding in told if finding.advice],
        "exit_code": code,
        "steps": rows[-1]["step"] if rows else 0,
        "episodes": sum(row.get("episodes", 0) for row in rows),
        "faults": sum(row.get("faults", 0) for row in rows),
        "seconds": round(time.perf_counter() - started, 1),
    }


def works(row: dict[str, Any], steps: int = STEPS) -> bool:
    """True where the training went to its end without a failure of the environment."""
    return row["exit_code"] == 0 and row["faults"] == 0 and row["steps"] >= steps


def main(words: list[str]) -> int:
    """Measure what is missing; the exit code."""
    HOME.mkdir(exist_ok=True)
    bad = 0
    for peer in PEERS:
        path = HOME / f"{peer.title}.json"
        if path.exists() and "--again" not in words:
            continue
        row = measure(peer)
        path.write_text(json.dumps(row, indent=2) + "\n")
        verdict = "works" if works(row) else "FAILS"
        print(f"{verdict}  {peer.title}  {row['seconds']} s  {'; '.join(row['doctor'])}", flush=True)
        bad += not works(row)
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
