"""Adam (Kingma and Ba 2015, arXiv:1412.6980) by torch's fused function, and gradients cut to a common norm.

torch.optim.Adam steps by the same function to the same bits. But its first use imports torch's compiler, two seconds of
every process that trains, and each step asks the compiler whether it is at work, which takes longer than to step a
small network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

BETA1, BETA2 = 0.9, 0.999
"""What each step keeps of the moments of the past."""
NORM_FLOOR = 1e-6
"""Added to a norm that a limit is divided by."""


class Adam:
    """Steps parameters down the gradients in their `grad`.

    m <- .9 m + .1 g and v <- .999 v + .001 g^2; x <- x - rate m' / (sqrt(v') + eps), m' and v' being m / (1 - .9^t) and
    v / (1 - .999^t) at an own t-th step. A parameter without a gradient is not stepped.
    """

    def __init__(self, parameters: Iterable[Tensor], rate: float, eps: float) -> None:
        self.parameters, self.rate, self.eps = list(parameters), rate, eps
        self.state: dict[int, dict[str, Tensor]] = {}
        """Number of a parameter that was stepped -> its `exp_avg` m, `exp_avg_sq` v and `step` t."""

    @torch.no_grad()
    def step(self) -> None:
        """Step every parameter that has a gradient."""
        stepped = [(i, x, x.grad) for i, x in enumerate(self.parameters) if x.grad is not None]
        if not stepped:
            return
        states = [self.state_of(i) for i, _, _ in stepped]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1.0)
        torch._fused_adam_(
            [x for _, x, _ in stepped],
            [gradient for _, _, gradient in stepped],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=self.rate,
            beta1=BETA1,
            beta2=BETA2,
            weight_decay=0.0,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )

    def forget_gradients(self) -> None:
        """Let no parameter have a gradient."""
        for x in self.parameters:
            x.grad = None

    def state_dict(self) -> dict[str, Any]:
        """As torch's: `state`, without what never changes. It shares its tensors with the optimiser."""
        return {"state": {i: dict(each) for i, each in self.state.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict`, or torch's, was taken. ValueError where it is of other parameters."""
        for i, each in state["state"].items():
            if not 0 <= i < len(self.parameters) or each["exp_avg"].shape != self.parameters[i].shape:
                raise ValueError("an optimiser's state is of other parameters")
        self.state = {i: {name: x.clone() for name, x in each.items()} for i, each in state["state"].items()}

    def state_of(self, i: int) -> dict[str, Tensor]:
        """The state of parameter number i, begun where it was never stepped."""
        if i not in self.state:
            x = self.parameters[i]
            moments = {name: torch.zeros_like(x, requires_grad=False) for name in ("exp_avg", "exp_avg_sq")}
            self.state[i] = {"step": torch.zeros((), device=x.device)} | moments
        return self.state[i]


def clip_norm(gradients: list[Tensor] | tuple[Tensor, ...], limit: float) -> Tensor:
    """Shrink gradients, in place, to a common norm of at most `limit`; returns the norm they had."""
    alone = len(gradients) == 1
    norm: Tensor = torch.linalg.vector_norm(gradients[0] if alone else torch.stack(torch._foreach_norm(gradients)))
    factor = limit / (norm + NORM_FLOOR)
    if not bool(factor >= 1.0):
        torch._foreach_mul_(gradients, factor)
    return norm
