"""A grid of coloured blocks whose right colour only some know."""
