"""Playing by values: what is best, what is legal, and how often anything else is taken."""

from __future__ import annotations

import math

import pytest
import torch

from marl.distributions import Categorical, EpsilonGreedy, MultiEpsilonGreedy

VALUES = torch.tensor([1.0, 5.0, 5.0, -2.0, 9.0])
LEGAL = torch.tensor([True, True, True, True, False])


def test_probabilities_are_those_of_the_equation() -> None:
    chosen = EpsilonGreedy(VALUES, 0.2, LEGAL)
    torch.testing.assert_close(chosen.probs, torch.tensor([0.05, 0.85, 0.05, 0.05, 0.0]))
    assert int(chosen.mode()) == 1
    torch.testing.assert_close(EpsilonGreedy(VALUES, 0.0).probs, torch.eye(5)[4])
    whole = EpsilonGreedy(VALUES, 1.0, LEGAL)
    assert int(whole.mode()) == 1  # though all are as likely
    assert float(whole.entropy()) == pytest.approx(math.log(4), abs=1e-6)
    assert float(EpsilonGreedy(VALUES, 0.0, LEGAL).entropy()) == 0.0


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_what_is_drawn_is_as_likely_as_it_says_and_always_legal(epsilon: float) -> None:
    noise = (torch.arange(20_000) + 0.5).unsqueeze(-1) / 20_000
    mask = torch.tensor([True, False, True, True, False])
    chosen = EpsilonGreedy(VALUES.expand(20_000, 5), epsilon, mask.expand(20_000, 5))
    drawn = chosen.sample(noise)
    assert mask[drawn.long()].all()
    share = torch.bincount(drawn, minlength=5) / 20_000
    torch.testing.assert_close(share, chosen.probs[0], rtol=0, atol=2e-4)
    torch.testing.assert_close(chosen.log_prob(drawn).exp(), chosen.probs[0][drawn.long()])


def test_a_legal_value_wins_however_low_it_is() -> None:
    values = torch.tensor([-1e9, float("nan"), 1e9])
    chosen = EpsilonGreedy(torch.tensor([-1e9, 1e9, 1e9]), 0.0, torch.tensor([True, False, False]))
    assert int(chosen.mode()) == 0 and int(chosen.sample(torch.tensor([0.999]))) == 0
    assert EpsilonGreedy(values, 0.1).log_prob(torch.tensor(0)).isnan()  # play that looks at it stops


def test_every_choice_explores_for_itself() -> None:
    values = torch.tensor([0.0, 1.0, 3.0, 2.0, 1.0]).expand(100, 5)
    mask = torch.tensor([True, True, False, True, True]).expand(100, 5)
    chosen = MultiEpsilonGreedy(values, (2, 3), 0.5, mask)
    assert chosen.mode()[0].tolist() == [1, 1]
    torch.testing.assert_close(chosen.probs[0], torch.tensor([0.25, 0.75, 0.0, 0.75, 0.25]))
    grid = torch.cartesian_prod(torch.arange(10), torch.arange(10)) / 10 + 0.05
    drawn = chosen.sample(grid)
    torch.testing.assert_close(chosen.log_prob(drawn).exp()[0], torch.tensor(0.25 * 0.75))
    assert len({tuple(row) for row in drawn.tolist()}) == 4
    assert isinstance(chosen.parts[0], Categorical)
