"""Recipes: the contract, settings, loading a file, and a recipe on a workspace as a job."""
