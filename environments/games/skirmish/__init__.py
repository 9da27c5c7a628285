"""Small battles of two sides of units in a plane: `skirmish/3m`, `skirmish/MMM`, `skirmish/random-5v5` and others."""
