"""Layouts of data sets: one module each, with `LOOKS_FOR`, `found` and `read`."""
