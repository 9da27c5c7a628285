"""Small complete games that between them use every feature of the environment contract.

Contract tests and learner tests run on them; `environments.names()` does not list them. `meet`: discrete, cooperative,
masked, ended by rule or by time. `dock`: continuous with lopsided bounds, several groups' worth of noise, never ended
by rule. `noughts`: turn-based, two teams of one kind, uint8 views, an outcome of its own. `siege`: agents that die, are
absent, and are paid after death; two kinds of team; MultiDiscrete actions.
"""
