"""The warehouse family: robots that fetch shelves, one game in many sizes."""
