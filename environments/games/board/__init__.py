"""Board games of two: a line of three, a line of four, a path across the board."""
