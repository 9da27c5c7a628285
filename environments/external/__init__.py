"""Other people's environments behind the contract of `environments.vector`, found by name.

    env = external.make("pettingzoo:mpe2.simple_tag_v3", num_envs=8, seed=0, options={"num_good": 2})

`sources` turns a name into a factory, `spaces` their observations and actions into arrays, `teams` their agents into
teams, `play` their two ways of playing into one, `vector` steps several of them in one process. Imports no numba and no
torch: worker processes live here.
"""
