"""Skirmish: rules, mirror images, what is seen, names, bots."""
