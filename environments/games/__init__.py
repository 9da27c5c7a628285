"""The rules of the environments that ship with the platform, one folder per family."""
