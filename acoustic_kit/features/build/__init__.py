"""Build features into the store: plan, execute, report."""
