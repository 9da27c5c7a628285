"""What is seen and what is legal, against a slow reference that reads only the state and the table of units."""

from __future__ import annotations

import numpy as np
import pytest

from environments.games.skirmish.units import UNITS, Roster
from environments.vector import Array, VectorEnv
from tests.environments.skirmish import battles

F = np.float32
CASES = ["MMM", "5m_vs_6m", "random-5v5"]


class Reference:
    """One copy's views, written from the page of the game."""

    def __init__(self, env: VectorEnv, copy: int) -> None:
        self.s = env.capture(copy).arrays
        self.roster = Roster.of(env.spec.options)
        self.units = battles.units(env, self.s["kind"])
        self.allies = len(self.roster.allies)

    def looks(self, i: int) -> list[F]:
        unit, row = self.units[i], [F(self.s["health"][i]) / F(self.units[i].health)]
        if self.roster.shielded:
            row.append(F(self.s["shield"][i]) / F(max(unit.shield, 1)))
        if len(self.roster.types) > 1:
            row += [F(k == self.s["kind"][i]) for k in range(len(self.roster.types))]
        return row

    def block(self, i: int) -> list[F]:
        place = [self.s["x"][i] / F(12), self.s["y"][i] / F(9)]
        return [*place, self.s["cooldown"][i] / F(self.units[i].cooldown), *self.looks(i)]

    def others(self, i: int) -> tuple[list[int | None], list[int | None]]:
        foes = range(self.allies, len(self.units)) if i < self.allies else range(self.allies)
        friends = [j for j in range(len(self.units)) if j not in foes and j != i]
        pad = self.roster.places
        return [*foes, *[None] * (pad - len(foes))], [*friends, *[None] * (pad - 1 - len(friends))]

    def gap(self, i: int, j: int) -> float:
        return float(np.hypot(self.s["x"][j] - self.s["x"][i], self.s["y"][j] - self.s["y"][i]))

    def view(self, i: int) -> tuple[Array, Array]:
        ahead = 1 if i < self.allies else -1
        unit, own = self.units[i], self.block(i)
        foes, friends = self.others(i)
        row = [own[0] * ahead, *own[1:]]
        for j in (*foes, *friends):
            if j is None or self.s["health"][j] <= 0 or self.gap(i, j) > unit.sight:
                row += [F(0)] * len(own)
            else:
                dx, dy = (self.s[axis][j] - self.s[axis][i] for axis in ("x", "y"))
                row += [ahead * dx / F(unit.sight), dy / F(unit.sight), F(self.gap(i, j) / unit.sight), *self.looks(j)]
        x, y = self.s["x"][i] * ahead, self.s["y"][i]
        targets = [self.aims(i, j) for j in (friends if unit.heal else foes)]
        targets += [False] * (self.roster.places - len(targets))
        return np.array(row), np.array([True, x < 12, x > -12, y < 9, y > -9, *targets])

    def aims(self, i: int, j: int | None) -> bool:
        if j is None or self.s["health"][j] <= 0:
            return False
        a, b = self.units[i], self.units[j]
        wounded = self.s["health"][j] < b.health
        return self.gap(i, j) <= a.range + a.radius + b.radius and bool(not a.heal or wounded)


@pytest.mark.parametrize("name", CASES)
def test_views_masks_and_state(name: str) -> None:
    env = battles.make(name, 6, opponent="team")
    rng = np.random.default_rng(3)
    aimed = blind = 0
    for _ in range(60):
        env.step(battles.approaching(env, rng))
        for copy in range(6):
            reference = Reference(env, copy)
            i = 0
            for group in env.buffers.groups:
                for n in range(group.acting.shape[1]):
                    if group.acting[copy, n]:
                        row, mask = reference.view(i)
                        np.testing.assert_allclose(group.obs[copy, n], row, atol=2e-6)
                        assert group.action_mask[copy, n].tolist() == mask.tolist()
                        aimed += int(mask[5:].sum())
                        blind += int((row.reshape(-1, len(reference.block(i)))[1:] == 0).all(1).sum())
                    i += 1
            stands = reference.s["health"] > 0
            blocks = [reference.block(k) if stands[k] else [0.0] * len(reference.block(k)) for k in range(len(stands))]
            np.testing.assert_allclose(env.buffers.state[copy], np.ravel(blocks), atol=2e-6)
    assert aimed > 100 and blind > 100


def test_everything_within_range_is_seen() -> None:
    """An aim that is legal is always at somebody in sight."""
    widest = max(unit.radius for unit in UNITS.values())
    for name, unit in UNITS.items():
        assert unit.range + unit.radius + widest <= unit.sight, name
        assert (unit.damage == 0) == (unit.heal > 0), name


def test_features_name_every_column() -> None:
    for name in (*CASES, "3m"):
        for group in battles.make(name, opponent="team").spec.groups:
            assert len(set(group.features)) == len(group.features) == group.observation_space.shape[0]
    two = battles.make("5m_vs_6m", opponent="team").spec.groups
    assert two[0].observation_space == two[1].observation_space and two[0].action_space == two[1].action_space
