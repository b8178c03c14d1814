"""Names of metrics: those of akit, weighted sums, and those of a workspace's own."""

from __future__ import annotations

import difflib
import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from acoustic_kit.errors import UsageError
from acoustic_kit.metrics.metric import METRICS, Metric, find_metric, fitting_metrics
from acoustic_kit.metrics.own import own_metric

_TERM = re.compile(r"\s*(?:(\d+\.?\d*|\.\d+)\s*\*\s*)?([A-Za-z_@][\w@]*)\s*", re.ASCII)


class MetricName(str):
    """The name of a metric, or a weighted sum, with the folder of the workspace's own metrics.

    It is a string with an attribute, also when unpickled, so that metrics of two workspaces are not confused.
    """

    folder: Path | None

    def __new__(cls, text: str, folder: Path | None = None) -> MetricName:
        """Return the name; the folder may be missing."""
        name = super().__new__(cls, text)
        name.folder = folder
        return name


def beside(metric: str, other: str) -> MetricName:
    """Return the name of a metric that is looked up where another one is."""
    return MetricName(metric, _folder_of(other))


def get_metric(text: str) -> Metric:
    """Return the metric of a name, or of a sum such as ``0.8*accuracy+0.2*f1``; `MetricName` also of a workspace's own.

    Raises UsageError for an unknown name, for a text that is not a sum, for a weight of zero, and for a sum of metrics
    of which only some are better if greater; AkitError for a metric of one's own that cannot be loaded.
    """
    folder = _folder_of(text)
    return _builtin(text) if folder is None else _metric(str(text), folder)


def recorded_metric(text: str) -> Metric | None:
    """Return the metric of a name in a record; None if it is the own metric of a workspace that is not at hand."""
    try:
        return get_metric(text)
    except UsageError:
        return None


def validate_metric(metric: str, task: str) -> None:
    """Raise UsageError if the metric does not exist or does not fit the task (``single`` or ``multi``)."""
    get_metric(metric).require_task(task)


def validate_name(metric: str, task: str) -> None:
    """Raise UsageError as `validate_metric` does, without executing metrics of one's own."""
    for _, name in _terms(metric):
        found = _find(name, _folder_of(metric))
        if isinstance(found, Metric):
            found.require_task(task)


@lru_cache
def _builtin(text: str) -> Metric:
    return _metric(text, None)


def _metric(text: str, folder: Path | None) -> Metric:
    parts = []
    for weight, name in _terms(text):
        found = _find(name, folder)
        parts.append((weight, found if isinstance(found, Metric) else own_metric(found)))
    return parts[0][1] if len(parts) == 1 and parts[0][0] == 1 else _weighted_sum(text, tuple(parts))


def _weighted_sum(text: str, parts: tuple[tuple[float, Metric], ...]) -> Metric:
    metrics = [metric for _, metric in parts]
    lower = [metric.name for metric in metrics if not metric.greater_is_better]
    if lower and len(lower) < len(metrics):
        greater = next(metric.name for metric in metrics if metric.greater_is_better)
        raise UsageError(
            f"cannot add {greater} and {lower[0]} in {text!r}: greater {greater} and lower {lower[0]} is better"
        )
    draws = [metric.max_draws for metric in metrics if metric.max_draws is not None]
    return Metric(
        text,
        "weighted sum",
        lambda counts: np.asarray(sum(weight * metric.value(counts) for weight, metric in parts)),
        tuple(task for task in ("single", "multi") if all(task in metric.tasks for metric in metrics)),
        n_labels=max(metric.n_labels for metric in metrics),
        needs_probabilities=any(metric.needs_probabilities for metric in metrics),
        ranks_clips=any(metric.ranks_clips for metric in metrics),
        macro=any(metric.macro for metric in metrics),
        scores_absent_classes=any(metric.scores_absent_classes for metric in metrics),
        greater_is_better=not lower,
        lowest=sum(weight * metric.lowest for weight, metric in parts),
        highest=sum(weight * metric.highest for weight, metric in parts),
        max_draws=min(draws, default=None),
        parts=parts,
    )


def _folder_of(metric: str) -> Path | None:
    return metric.folder if isinstance(metric, MetricName) else None


def _terms(text: str) -> list[tuple[float, str]]:
    """Return weights and names of a sum; the weight of a name alone is 1."""
    matches = [_TERM.fullmatch(term) for term in text.split("+")]
    found = [(float(match[1] or 1), match[2]) for match in matches if match is not None]
    if len(found) < len(matches) or any(weight == 0 for weight, _ in found):
        raise UsageError(f"cannot read the metric {text!r}; write a name, or a sum such as 0.8*accuracy+0.2*f1")
    return found


def _find(name: str, folder: Path | None) -> Metric | Path:
    """Return one of akit's metrics, or the file of one of the folder's."""
    builtin, path = find_metric(name), folder and folder / f"{name}.py"
    if path is not None and path.is_file():
        if builtin is not None:
            raise UsageError(f"{path} has the name of a metric of akit; rename the file")
        return path
    if builtin is not None:
        return builtin
    own = sorted(file.stem for file in folder.glob("*.py")) if folder is not None else []
    plain = name.replace("@", "")
    near = [plain] if find_metric(plain) else difflib.get_close_matches(name, [*own, *METRICS], n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    single, multi = (", ".join(fitting_metrics(task)) for task in ("single", "multi"))
    ours = f"; in {folder}: {', '.join(own)}" if own else f"; one of your own is {path}" if path is not None else ""
    raise UsageError(
        f"unknown metric {name!r}; {hint}There are: {single} and other mapK with one label a clip; "
        f"{multi} with several{ours}"
    )
