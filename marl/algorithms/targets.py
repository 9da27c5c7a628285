"""What a rollout's samples are trained towards: advantages and targets of values, on the rows of the one clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from marl.buffers import GroupRollout, Rollout, own_or_all
from marl.config_rollout import RolloutConfig
from marl.returns import lambda_advantages, step_advantages, vtrace

Rows = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Reward, value, bootstrap, who acts, what ended: as `marl.returns` takes them."""


@dataclass(frozen=True)
class Clock:
    """Whose time counts, and how far what is paid reaches."""

    config: RolloutConfig
    reward: str
    """As `OnPolicy` takes it: rows of the clock are agents with their own reward, or seats with the team's."""
    wait: float
    """Discount of a step that was only waited."""
    max_wait: int
    """Steps at a rollout's edge that only lend their values."""

    def estimate(self, rows: Rows, log_rho: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Of rows of the clock: advantages, what values were short of their targets, and which decisions are closed."""
        config, edge = self.config, self.max_wait
        if log_rho is not None:
            clips = config.rho_clip, config.trace_clip
            return vtrace(*rows, log_rho, config.gamma, config.gae_lambda, self.wait, *clips, edge)
        if config.returns == "nstep":
            advantage, closed = step_advantages(*rows, config.gamma, config.n_step, self.wait, edge)
        else:
            advantage, closed = lambda_advantages(*rows, config.gamma, config.gae_lambda, self.wait, edge)
        return advantage, advantage, closed

    def advantages(
        self,
        groups: Sequence[GroupRollout],
        rollout: Rollout,
        values: Tensor,
        final: Tensor,
        acting: Tensor,
        log_rho: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Advantage `[T, S, R]`, raw value targets `[T, S, R or 1]`, closed decisions `[T, S, R]`, values to train.

        Rows of the clock are agents with their own reward, or seats with the team's: a seat decides when any member
        acts, ends only with the episode, is paid what any member is paid, the dead included, and does what all do.
        """
        reward = torch.cat([g.reward for g in groups], 2)
        terminated, truncated = lives_end(groups)
        truncated = own_or_all(truncated, rollout.members(truncated.shape[2]))
        if self.reward == "agent":
            ended = terminated | truncated
            gain, short, closed = self.estimate((reward, values, final, acting, ended), log_rho)
            return gain, short + values[:-1], closed, acting[:-1] & closed
        paid = reward.sum(2, keepdim=True) if self.reward == "team_sum" else reward.mean(2, keepdim=True)
        acts = acting.any(2, keepdim=True)
        row = values if values.shape[2] == 1 else _mean(values, acting)
        bootstrap = final if final.shape[2] == 1 else _mean(final, truncated)
        bootstrap = torch.where(rollout.episode_truncated.unsqueeze(-1), bootstrap, 0.0)
        ended = rollout.episode_over.unsqueeze(-1)
        joint = None if log_rho is None else log_rho.sum(2, keepdim=True)
        gain, short, closed = self.estimate((paid, row, bootstrap, acts, ended), joint)
        targets = (short + row[:-1]).expand_as(values[:-1])
        use_value = (acts[:-1] & closed) if values.shape[2] == 1 else (acting[:-1] & closed)
        members = gain + row[:-1] - values[:-1]  # one return for the seat; each member subtracts its own value
        return members.expand_as(reward), targets, closed.expand_as(reward), use_value


def lives_end(groups: Sequence[GroupRollout]) -> tuple[Tensor, Tensor]:
    """Where lives of all groups' agents are terminated, and where truncated alone, `[T, S, R]`."""
    terminated = torch.cat([g.terminated for g in groups], 2)
    return terminated, torch.cat([g.truncated for g in groups], 2) & ~terminated


def _mean(x: Tensor, use: Tensor) -> Tensor:
    """Mean over the last axis of the entries where `use`, 0 where there are none: `[.., R] -> [.., 1]`."""
    return torch.where(use, x, 0.0).sum(-1, keepdim=True) / use.sum(-1, keepdim=True).clamp(min=1)
