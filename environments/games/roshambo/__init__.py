"""Rock, paper, scissors."""
