"""Runs: on disk, while they are trained, the leaderboard, tuning, imported predictions, and runs on S3."""
