"""The library for notebooks and scripts: what the command line does, as methods of an open workspace."""
