"""Classification metrics of class probabilities, and bootstrap intervals of them."""

from acoustic_kit.metrics.counts import MULTI_LABEL_THRESHOLD, top_k
from acoustic_kit.metrics.metric import METRICS, Metric, fitting_metrics
from acoustic_kit.metrics.names import MetricName, get_metric, validate_metric
from acoustic_kit.metrics.scores import all_scores, score, score_ranked

__all__ = [
    "METRICS",
    "MULTI_LABEL_THRESHOLD",
    "Metric",
    "MetricName",
    "all_scores",
    "fitting_metrics",
    "get_metric",
    "score",
    "score_ranked",
    "top_k",
    "validate_metric",
]
