"""The matrix family: games of one table of payoffs, played once or many times over."""
