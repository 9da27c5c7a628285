"""Level-based foraging: players walk a grid and load food, alone or together."""
