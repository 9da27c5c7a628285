"""Learners for teams of agents. Import the part that is needed (`marl.policy`, `marl.trainer`): nothing is here."""
