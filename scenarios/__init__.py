"""Named, frozen uses of environments: options, teams, whose reward counts, how long, how to evaluate."""
