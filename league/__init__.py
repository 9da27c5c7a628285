"""Populations of players: who exists, who meets whom, and what the results say."""
