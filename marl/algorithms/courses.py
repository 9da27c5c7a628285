"""What networks that remember say of views that a replay buffer holds: step by step, as they would come to them."""

from __future__ import annotations

import torch
from torch import Tensor

from environments.spec import AgentGroup
from marl.policy import Policy
from marl.recurrent import Past
from marl.replay_buffer import Views


def described(policy: Policy, group: AgentGroup, views: Views) -> Tensor:
    """What a policy says of views, `[B, n, outputs]`; of recurrent ones after the steps of their course.

    What is carried goes on from what the buffer kept, without gradients through the steps that only warm up, begins
    anew with each episode, and is handed to a final view as it was after the last step of the life that ended.
    """
    course, name = views.course, group.name
    if course is None:
        return policy.describe(group, views.obs[name])
    acting, warm = _own(policy, group, views.acting), _own(policy, group, course.before.acting)
    chunks = len(course.start)
    hidden, lead = course.hidden[name], len(warm) // chunks
    steps = course.start.shape[1] - lead
    along = chunks * steps
    if lead:
        with torch.no_grad():
            past = Past(hidden, course.start[:, :lead], warm.view(chunks, lead, -1))
            hidden = _carried(policy, group, course.before.obs[name], past)[1][:, -1]
    past = Past(hidden, course.start[:, lead:], acting[:along].view(chunks, steps, -1))
    outputs, after = _carried(policy, group, views.obs[name][:along], past)
    if len(course.after) == 0:
        return outputs
    ended = Past.of_step(after.flatten(0, 1)[course.after], acting[along:])
    return torch.cat([outputs, policy.describe(group, views.obs[name][along:], past=ended)])


def _own(policy: Policy, group: AgentGroup, acting: Tensor) -> Tensor:
    """A group's columns of who acts, `[B, R] -> [B, n]`."""
    groups = policy.spec.groups
    parts = torch.split(acting, [policy.spec.members(each) for each in groups], 1)
    return parts[groups.index(group)]


def _carried(policy: Policy, group: AgentGroup, obs: Tensor, past: Past) -> tuple[Tensor, Tensor]:
    outputs, after = policy.remembering(group, obs, past=past)
    assert after is not None, "views have a course where their policy is recurrent"
    return outputs, after
