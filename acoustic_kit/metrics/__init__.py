"""Metrics of class probabilities, and bootstrap intervals of them."""

from acoustic_kit.metrics.scores import (
    METRICS,
    MULTI_LABEL_METRICS,
    MULTI_LABEL_THRESHOLD,
    all_scores,
    fitting_metrics,
    highest,
    needs_probabilities,
    score,
    score_ranked,
    terms,
    top_k,
    validate_metric,
)

__all__ = [
    "METRICS",
    "MULTI_LABEL_METRICS",
    "MULTI_LABEL_THRESHOLD",
    "all_scores",
    "fitting_metrics",
    "highest",
    "needs_probabilities",
    "score",
    "score_ranked",
    "terms",
    "top_k",
    "validate_metric",
]
