"""Advantages and returns as pure functions: the one clock that all learners share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from marl.engine import clock


def lambda_advantages(
    reward: Tensor,
    value: Tensor,
    bootstrap: Tensor,
    acts: Tensor,
    ended: Tensor,
    gamma: float,
    lambda_: float,
    wait: float,
    edge: int = 0,
) -> tuple[Tensor, Tensor]:
    """Generalised advantages of decisions that may be several steps apart, by one reverse scan.

    For a decision of a row at step t whose next own decision is at t + k in the same life (k = 1 where all act at
    every step), with `gamma` paid on arrival and `wait` per step only waited:

        R_t     = sum_{j<k} wait^j r_{t+j}
        delta_t = R_t + gamma wait^(k-1) V_{t+k} - V_t
        A_t     = delta_t + lambda gamma wait^(k-1) A_{t+k}

    Where the life ends at step t + k - 1, V_{t+k} is `bootstrap` (0 if terminated, the value of the final view if
    truncated) and A_{t+k} is 0. With k = 1 this is GAE (Schulman et al. 2016, arXiv:1506.02438, eq. 16) with the
    truncation of Pardo et al. 2018 (arXiv:1712.00378).

    At the rollout's edge some decisions have no known outcome. Those that have are no fair sample (wins, where a win
    ends the game), so all decisions of the last `edge` steps only lend their value: A_{t+k} is 0 for them, and they are
    not closed. With `edge` the longest wait for one's turn, every earlier decision is closed.

    Args:
        reward: `[T, ...]` of step t, counted whether or not the row acts.
        value: `[T+1, ...]` at the view of step t; read only where the row acts.
        bootstrap: `[T, ...]` read only where `ended`.
        acts: `[T+1, ...]` bool, the row decides at step t.
        ended: `[T, ...]` bool, the row's life ended in step t.
        edge: last steps whose decisions only lend their value.

    Returns:
        advantage `[T, ...]`, 0 where not closed, garbage where the row does not act; closed `[T, ...]` bool: a decision
        at step t is before the edge and its outcome is known (a later own decision or an end follows).
    """
    if not (value.shape[0] == acts.shape[0] == reward.shape[0] + 1 == ended.shape[0] + 1):
        raise ValueError(f"value and acts need one row more than reward: {value.shape}, {acts.shape}, {reward.shape}")
    rows = [x.reshape(x.shape[0], -1).contiguous() for x in (reward, value, bootstrap, acts, ended)]
    advantage, closed = torch.zeros_like(rows[0]), torch.zeros_like(rows[4])
    numbers = np.array([gamma, lambda_, wait], advantage.numpy().dtype)  # in the precision of the rows
    clock.scan(*(x.numpy() for x in rows), *numbers, edge, advantage.numpy(), closed.numpy())
    return advantage.view(reward.shape), closed.view(reward.shape)
