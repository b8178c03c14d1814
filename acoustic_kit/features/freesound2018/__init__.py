"""The summary table of a Freesound 2018 solution."""
