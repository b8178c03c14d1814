"""Which runs are blended, and the way from a blend to a submission."""
