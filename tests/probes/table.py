"""Which probe asks what, and of whom it cannot be asked: the table that `results/probes.py` fills."""

from __future__ import annotations

ROWS: dict[str, str] = {
    "P01": "losses and targets: constant pay",
    "P02": "what is seen reaches the critic",
    "P03": "discount",
    "P04": "the gradient's direction, the weight of entropy",
    "P05": "what is seen decides what is done",
    "P06": "a time limit bootstraps",
    "P07": "a termination does not",
    "P08": "episodes do not run into one another",
    "P09": "both ends at once are a termination",
    "P10": "death, own reward",
    "P11": "death, the team's reward",
    "P12": "one payoff for both",
    "P12b": "two equal conventions",
    "P13": "agents that share parameters know who they are",
    "P14": "a central critic sees the state",
    "P15": "actors do not",
    "P16": "masks in acting and in targets",
    "P17": "forced moves teach actors nothing",
    "P18": "memory",
    "P19": "memory ends with the episode",
    "P20": "as many agents as are there",
    "P21": "own reward, sum, mean",
    "P22": "n-step targets",
    "P23": "density of squashed actions",
    "P24": "rewards times 1000",
    "P25": "ratings of a cycle, its equilibrium",
    "P26": "seats",
    "P27": "what is lost on another's turn",
    "P28": "sampled and greedy play",
    "P29": "prisoners: alone and as a team",
    "P30": "zero sum",
}
NAMES: dict[str, str] = {
    "constant_pay": "P01",
    "seen_pay": "P02",
    "later": "P03",
    "drift": "P03",
    "bandit": "P04",
    "test_bandit_however_it_is_summed": "P04",
    "chase_far": "P04",
    "echo": "P05",
    "chase": "P05",
    "endless": "P06",
    "eight_steps": "P07",
    "rich_and_poor": "P08",
    "both_flags": "P09",
    "early_death": "P10",
    "sacrifice": "P11",
    "team_life": "P11",
    "test_a_sacrifice_needs_a_team_reward": "P11",
    "quantal": "P12",
    "test_quantal_equilibria": "P12",
    "test_a_common_payoff": "P12",
    "dial": "P12",
    "<lambda>": "P12",
    "test_symmetric_coordination": "P12b",
    "own_number": "P13",
    "test_who_am_i": "P13",
    "test_twins_need_to_know_who_they_are": "P13",
    "test_agents_with_parameters_of_their_own_know_who_they_are": "P13",
    "hidden_pay": "P14",
    "test_only_a_central_critic_sees_the_state": "P14",
    "test_a_mix_sees_the_state_and_a_sum_does_not": "P14",
    "hidden_echo": "P15",
    "hidden_chase": "P15",
    "forbidden": "P16",
    "test_forced_moves_teach_actors_nothing": "P17",
    "crowd": "P20",
    "wages": "P21",
    "test_reward_channel": "P21",
    "test_rewards_reach_whom_they_are_for": "P21 P29",
    "test_what_was_seen_is_remembered": "P18",
    "test_who_remembers_nothing_can_only_guess": "P18",
    "test_nothing_is_remembered_from_one_episode_to_the_next": "P19",
    "test_a_memory_that_leaks_is_found": "P19",
    "n_steps": "P22",
    "idle": "P23",
    "target": "P23",
    "reward_scale": "P24",
    "test_what_is_lost_on_anothers_turn_is_ones_own": "P27",
    "test_a_reward_that_is_lost_is_noticed": "P27",
    "test_sampled_and_greedy_play_are_not_the_same": "P28",
    "test_prisoners_defect_alone_and_cooperate_as_a_team": "P29",
    "test_prisoners_keep_alone_and_give_as_a_team": "P29",
    "forced": "P17",
    "zero_sum": "P30",
}
"""A probe's or a test's name -> its row, or rows; what is not here asks something of its own."""
CONTROLS = (
    "test_a_planted_bug_is_found",
    "test_a_sacrifice_needs_a_team_reward",
    "test_twins_need_to_know_who_they_are",
    "test_a_reward_that_is_lost_is_noticed",
    "test_who_remembers_nothing_can_only_guess",
    "test_a_memory_that_leaks_is_found",
)
"""Tests that pass where a probe fails."""

LEARNERS: dict[str, tuple[str, ...]] = {
    "ppo": ("ippo", "mappo", "happo", "dpo", "mdpo", "fixpo", "vtrace", "nstep"),
    "trpo": ("hatrpo",),
    "a2c": ("ia2c", "maa2c"),
    "sac": ("isac", "masac", "hasac"),
    "ddpg": ("maddpg", "matd3", "haddpg", "hatd3"),
    "q": ("iql", "vdn", "qmix"),
}
"""Core -> learners (mdpo, fixpo: IPPO with those trust regions; vtrace, nstep: MAPPO with those returns)."""
MODULES = {
    "test_ppo": "ippo",
    "test_on_policy": "happo",
    "test_sac": "hasac",
    "test_ddpg": "hatd3",
    "test_q_learning": "qmix",
    "test_across": "hatd3",
    "test_memory": "mappo",
}
"""Who is looked at where a test does not say."""
CRITICS = {"local": "ippo", "central": "mappo"}
"""Tests of PPO name its critic."""

ROLLOUTS = ("ppo", "trpo", "a2c")
NO_TEMPERATURE = "no weight on entropy that stays"
BOXES = "its actions are continuous: no masks"
APART = "agents have parameters of their own"
ONE_CORE = "a setting of a learner that is asked it"
REPLAYED = dict.fromkeys(("sac", "ddpg", "q"), "no recurrent learner from a replay buffer")
LOCAL = "its critic is local"
TEAMS = dict.fromkeys(("vdn", "qmix"), "it learns from a team's reward alone")
NEVER: dict[str, dict[str, str]] = {
    "P01": TEAMS,
    "P10": TEAMS,
    "P30": TEAMS,
    "P12": {"isac": "a local critic sees no joint optimum"},
    "P12b": {
        **dict.fromkeys((*ROLLOUTS, "ddpg", "q"), NO_TEMPERATURE),
        "isac": "a local critic sees no joint optimum",
    },
    "P13": {"hasac": APART, "ddpg": APART},
    "P14": {
        **dict.fromkeys(("ippo", "ia2c", "dpo", "mdpo", "fixpo", "isac", "iql"), LOCAL),
        "vdn": "a sum sees no state",
    },
    "P16": {"ddpg": BOXES},
    "P17": {"ddpg": BOXES, "q": "no actor, no entropy"},
    "P18": {**REPLAYED, **dict.fromkeys(("mdpo", "fixpo", "vtrace", "nstep"), ONE_CORE)},
    "P19": {**REPLAYED, **dict.fromkeys(ROLLOUTS, "the collector's, which all learners share: asked of mappo")},
    "P22": dict.fromkeys(ROLLOUTS, "returns are of lambda: tests/marl/test_returns.py"),
    "P23": dict.fromkeys((*ROLLOUTS, "ddpg", "q"), "no squashed density is learnt from"),
    "P24": {"maa2c": "advantages as they are: the size of rewards is meant to matter"},
    "P25": dict.fromkeys(LEARNERS, "of the league: tests/league"),
    "P26": dict.fromkeys(LEARNERS, "of the league: tests/league"),
    "P28": {"ddpg": "deterministic: there is one way to play"},
}
"""Row -> core or learner -> why it is not asked."""


def reason(row: str, core: str, learner: str) -> str | None:
    """Why a probe is not asked of a learner, or None where it should be."""
    said = NEVER.get(row, {})
    return said.get(learner, said.get(core))
