"""The roof: one thin file per command. Nothing imports it."""
