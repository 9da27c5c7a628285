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
    rows = _rows(reward, value, bootstrap, acts, ended)
    advantage, closed = torch.zeros_like(rows[0]), torch.zeros_like(rows[4])
    numbers = np.array([gamma, lambda_, wait], advantage.numpy().dtype)  # in the precision of the rows
    clock.scan(*(x.numpy() for x in rows), *numbers, edge, advantage.numpy(), closed.numpy())
    return _like(advantage, reward), _like(closed, reward)


def step_advantages(
    reward: Tensor,
    value: Tensor,
    bootstrap: Tensor,
    acts: Tensor,
    ended: Tensor,
    gamma: float,
    ahead: int,
    wait: float,
    edge: int = 0,
) -> tuple[Tensor, Tensor]:
    """Advantages of n-step returns over own decisions; clock, arguments and result as in `lambda_advantages`.

    With t_0 = t, t_1, .. the row's own decisions in one life, delta_i and d_i their errors and discounts there, and
    n = `ahead`:

        A_t = sum_{i<n} (prod_{j<i} d_j) delta_i

    which is the sum of the rewards up to the n-th next decision, discounted, plus the value there, minus V_t; shorter
    where the life or the rollout ends before (Mnih et al. 2016, arXiv:1602.01783).
    """
    rows = _rows(reward, value, bootstrap, acts, ended)
    advantage, closed = torch.zeros_like(rows[0]), torch.zeros_like(rows[4])
    numbers = np.array([gamma, wait], advantage.numpy().dtype)
    memory = np.zeros((2, len(rows[0])), advantage.numpy().dtype)
    clock.scan_ahead(*(x.numpy() for x in rows), *numbers, edge, ahead, *memory, advantage.numpy(), closed.numpy())
    return _like(advantage, reward), _like(closed, reward)


def vtrace(
    reward: Tensor,
    value: Tensor,
    bootstrap: Tensor,
    acts: Tensor,
    ended: Tensor,
    log_rho: Tensor,
    gamma: float,
    lambda_: float,
    wait: float,
    rho_clip: float,
    trace_clip: float,
    edge: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """V-trace (Espeholt et al. 2018, arXiv:1802.01561, section 4.1) over own decisions, on `lambda_advantages`' clock.

    With rho_t = min(rho_clip, pi(a_t) / mu(a_t)), c_t = lambda min(trace_clip, pi(a_t) / mu(a_t)), mu the policy that
    acted, t + k the next own decision and d_t its discount:

        v_t = V_t + rho_t (R_t + d_t V_{t+k} - V_t) + d_t c_t (v_{t+k} - V_{t+k})
        q_t = R_t + d_t v_{t+k}

    v is what values are to predict; q - V is the advantage, whose policy gradient has the weight pi / mu besides (the
    ratio of a surrogate). Where pi = mu, v - V is what `lambda_advantages` gives; so is q - V if lambda is 1, and else
    it looks one decision further, at v itself.

    Args:
        log_rho: `[T, ...]` log pi(a_t) - log mu(a_t); read only where the row acts.
        rho_clip, trace_clip: largest weights; the first decides which policy is valued, the second how fast.

    Returns:
        q - V `[T, ...]`, v - V `[T, ...]`, closed `[T, ...]`, as `lambda_advantages` does.
    """
    rows = _rows(reward, value, bootstrap, acts, ended)
    ratio = torch.where(acts[:-1], log_rho, 0.0).exp().reshape(rows[0].shape)
    weights = [ratio.clamp(max=rho_clip), lambda_ * ratio.clamp(max=trace_clip)]
    gain, correction, closed = torch.zeros_like(rows[0]), torch.zeros_like(rows[0]), torch.zeros_like(rows[4])
    numbers = np.array([gamma, wait], gain.numpy().dtype)
    arrays = [x.cpu().contiguous().numpy() for x in (*rows, *weights)]
    clock.scan_corrected(*arrays, *numbers, edge, gain.numpy(), correction.numpy(), closed.numpy())
    return _like(gain, reward), _like(correction, reward), _like(closed, reward)


def _rows(reward: Tensor, value: Tensor, bootstrap: Tensor, acts: Tensor, ended: Tensor) -> list[Tensor]:
    """The arrays of the clock, each `[T or T+1, rows]`, on the processor, which scans them."""
    if not (value.shape[0] == acts.shape[0] == reward.shape[0] + 1 == ended.shape[0] + 1):
        raise ValueError(f"value and acts need one row more than reward: {value.shape}, {acts.shape}, {reward.shape}")
    return [x.reshape(x.shape[0], -1).cpu().contiguous() for x in (reward, value, bootstrap, acts, ended)]


def _like(x: Tensor, reward: Tensor) -> Tensor:
    """In the shape and on the device of the rewards."""
    return x.view(reward.shape).to(reward.device)
