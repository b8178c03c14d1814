"""Submissions: the template, writing, checking, scoring, records and Kaggle. Knows no workspace."""
