"""Adam is torch's, to the bit, also where parameters have no gradient; gradients are cut to a common norm."""

from __future__ import annotations

import pytest
import torch

from marl.adam import Adam, clip_norm


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def parameters() -> list[torch.Tensor]:
    return [normal(0, 7, 33).requires_grad_(), normal(1, 5).requires_grad_(), torch.zeros((), requires_grad=True)]


def give_gradients(to: list[torch.Tensor], step: int) -> None:
    """The second parameter has one at every other step alone."""
    for i, x in enumerate(to):
        x.grad = None if i == 1 and step % 2 == 0 else normal(100 * step + i, *x.shape)


def test_steps_are_those_of_torch_to_the_bit() -> None:
    ours, theirs = parameters(), parameters()
    mine, other = Adam(ours, 0.01, 1e-5), torch.optim.Adam(theirs, lr=0.01, eps=1e-5, fused=True)
    for step in range(6):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        mine.step()
        other.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    state, wanted = mine.state_dict()["state"], other.state_dict()["state"]
    assert state.keys() == wanted.keys() == {0, 1, 2}
    assert all(torch.equal(state[i][name], wanted[i][name]) for i in state for name in wanted[i])
    assert [float(state[i]["step"]) for i in range(3)] == [6, 3, 6]


def test_it_goes_on_from_a_state_of_its_own_or_of_torch() -> None:
    first = parameters()
    before = torch.optim.Adam(first, lr=0.01, fused=True)
    give_gradients(first, 1)
    before.step()
    second = [x.detach().clone().requires_grad_() for x in first]
    after = Adam(second, 0.01, 1e-8)
    after.load_state_dict(before.state_dict())
    for x, own in ((first, before), (second, after)):
        give_gradients(x, 2)
        own.step()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert float(before.state_dict()["state"][0]["step"]) == 2.0  # in tensors of its own


def test_a_state_of_other_parameters_is_refused() -> None:
    one, other = parameters(), parameters()[1:]
    adam = Adam(one, 0.01, 1e-8)
    give_gradients(one, 1)
    adam.step()
    with pytest.raises(ValueError, match="other parameters"):
        Adam(other, 0.01, 1e-8).load_state_dict(adam.state_dict())


@pytest.mark.parametrize("limit", [0.5, 1e9])
def test_gradients_are_cut_to_a_common_norm_and_never_stretched(limit: float) -> None:
    gradients = [normal(0, 4, 3), normal(1, 6)]
    wanted = torch.cat([x.flatten() for x in gradients])
    norm = clip_norm(gradients, limit)
    assert float(norm) == pytest.approx(float(wanted.norm()), rel=1e-6)
    now = torch.cat([x.flatten() for x in gradients])
    assert torch.allclose(now, wanted * min(1.0, limit / float(norm)), rtol=1e-5)
    assert float(now.norm()) <= limit


def test_nothing_is_cut_by_a_norm_that_is_no_number() -> None:
    """It is told, so that the step is not made."""
    assert clip_norm([torch.tensor([1.0, torch.nan])], 1.0).isnan()
