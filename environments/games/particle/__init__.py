"""The particle family: twelve small games of discs in a plane, after mpe2."""
