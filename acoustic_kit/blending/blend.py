"""A chosen blend: how it combines runs, its scores, and its serialized form."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from acoustic_kit.blending.arrays import checked
from acoustic_kit.blending.combine import FIXED, METHOD_NAMES, WEIGHTED, apply_factors, combine
from acoustic_kit.blending.recordings import STEPS, Recordings, apply_postprocessing
from acoustic_kit.errors import AkitError, UsageError

Interval = tuple[float, float]
NONE: Interval = (math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Blend:
    """Chosen runs, how they are combined, and their scores in the metric that chose them.

    ``choose`` returns one; ``predict`` blends other clips of the same runs, for instance the test clips.
    """

    members: tuple[int, ...]  # positions of the chosen runs, best first
    weights: np.ndarray  # float64 (runs,), not negative, sum to one; 0 for runs that are not chosen
    method: str  # that combines the runs
    task: str  # "single" or "multi"
    score: float  # on the predictions that chose the blend: optimistic
    nested_score: float  # chosen on some folds, scored on the others; nan if that was impossible
    interval: Interval  # 95 % bootstrap interval of the nested score; nan if there is none
    single_best: tuple[int, float]  # position and score of the best run
    asked: str = "mean"  # the requested method: "auto", or `method`
    metric: str = "f1"
    gain: float = math.nan  # by which the nested score is better than that of the best single run, also chosen so
    gain_interval: Interval = NONE  # 95 %, paired: both scored on the same resampled groups
    considered: dict[str, float] = field(default_factory=dict)  # nested score of each method that `auto` combines
    decision: np.ndarray | None = None  # float64 (classes,), factors of the odds; None: unchanged odds
    decision_gain: float | None = None  # nested gain of tuned factors, used or not; None if not tuned
    postprocessing: tuple[str, ...] = ()  # steps of `recordings.STEPS` that are applied to windows of recordings
    postprocessing_gains: dict[str, float] = field(default_factory=dict)  # nested gain of each step, applied or not
    parameters: dict[str, np.ndarray] = field(default_factory=dict)  # fitted by the method, runs in order of `members`

    @property
    def compares_clips(self) -> bool:
        """Whether the prediction for a clip depends on the other clips, as ranks without a fit do."""
        return self.method == "rank" and "quantiles" not in self.parameters

    @property
    def beats_best_run(self) -> bool | None:
        """Whether the interval of the gain over the best single run is above zero; None without a nested estimate."""
        return None if math.isnan(self.gain_interval[0]) else self.gain_interval[0] > 0

    def predict(
        self, probabilities: np.ndarray | Sequence[np.ndarray], recordings: Recordings | None = None
    ) -> np.ndarray:
        """Return the blend for new clips: (runs, clips, classes) of the same runs in the same order → (clips, classes).

        float64; rows sum to one (single label). Windows are post-processed if their ``recordings`` are given, with all
        windows of each. Raises ValueError for another number of runs or classes, a wrong shape or non-finite values.
        """
        return self.finish(self.combine(probabilities), recordings)

    def combine(self, probabilities: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Return the combined runs, the first step of ``predict``. Raises ValueError as ``predict`` does."""
        runs = checked(probabilities)
        if len(runs) != len(self.weights):
            raise ValueError(f"the blend was chosen among {len(self.weights)} runs; here are {len(runs)}")
        runs = [runs[run] for run in self.members]
        return combine(self.method, runs, self.weights[list(self.members)], self.parameters, self.task)

    def finish(self, combined: np.ndarray, recordings: Recordings | None = None) -> np.ndarray:
        """Return combined runs (clips, classes) after post-processing and decision, the last steps of ``predict``."""
        blended = apply_postprocessing(self.postprocessing, combined, recordings)
        return blended if self.decision is None else apply_factors(blended, self.decision, self.task)

    def of_members(self) -> "Blend":
        """Return the same blend as a blend of its members only, in their order, best first.

        ``blend.of_members().predict(probabilities[list(blend.members)])`` equals ``blend.predict(probabilities)``.
        ``single_best`` has position -1 if the best run is not a member.
        """
        best, value = self.single_best
        return replace(
            self,
            members=tuple(range(len(self.members))),
            weights=read_only(self.weights[list(self.members)]),
            single_best=(self.members.index(best) if best in self.members else -1, value),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a document for JSON, without loss of precision and with None for nan; `from_dict` reads it."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_dict(cls, document: object) -> "Blend":
        """Read a document of `to_dict`. Raises AkitError if it is damaged or of an unknown version."""
        try:
            return _read(document)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise AkitError(
                f"This is not a blend that akit can read ({error}); make it again with `akit blend`."
            ) from None


def plain_blend(n_runs: int, method: str, task: str, members: Iterable[int] | None = None) -> Blend:
    """Return a blend by a method that needs no labels, without scores, for runs without common labels.

    Raises UsageError for a method that has to be fitted.
    """
    if method not in FIXED:
        raise UsageError(f"{method!r} needs labels to fit on; without them there are: {', '.join(FIXED)}")
    chosen = tuple(range(n_runs)) if members is None else tuple(members)
    weights = np.zeros(n_runs)
    weights[list(chosen)] = 1 / len(chosen)
    return Blend(chosen, read_only(weights), method, task, math.nan, math.nan, NONE, (-1, math.nan), asked=method)


def read_only(values: np.ndarray) -> np.ndarray:
    """Return a read-only float64 copy."""
    values = np.array(values, dtype=np.float64)
    values.flags.writeable = False
    return values


def _plain(value: object) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(document: object) -> Blend:
    if not isinstance(document, dict):
        raise TypeError("it is not a JSON object")
    weights, method, task = _numbers(document, "weights", 1), document["method"], document["task"]
    if method not in (*METHOD_NAMES, "stack_mean") or task not in ("single", "multi"):
        raise ValueError(f"method {method!r} of a {task!r} task")
    if (weights < 0).any() or not math.isclose(weights.sum(), 1, abs_tol=1e-6):
        raise ValueError("weights are negative or do not sum to one")
    members = tuple(_integer(run) for run in document["members"])
    if sorted(members) != np.flatnonzero(weights).tolist():
        raise ValueError("members are not the runs with a weight above 0")
    parameters = _parameters(document, len(members))
    decision = None if document["decision"] is None else _numbers(document, "decision", 1)
    if decision is not None and (decision <= 0).any():
        raise ValueError("a factor of the decision is not positive")
    if decision is not None and "bias" in parameters and decision.shape != parameters["bias"].shape:
        raise ValueError("the decision has another number of classes")
    best, best_score = document["single_best"]
    gain = document["decision_gain"]
    steps, gains = document.get("postprocessing", []), document.get("postprocessing_gains", {})  # later than the others
    if unknown := [step for step in steps if step not in STEPS]:
        raise ValueError(f"unknown post-processing {unknown[0]!r}")
    return Blend(
        members=members,
        weights=weights,
        method=method,
        task=task,
        score=_number(document["score"]),
        nested_score=_number(document["nested_score"]),
        interval=_interval(document["interval"]),
        single_best=(_integer(best), _number(best_score)),
        asked=str(document["asked"]),
        metric=str(document["metric"]),
        gain=_number(document["gain"]),
        gain_interval=_interval(document["gain_interval"]),
        considered={str(name): _number(value) for name, value in document["considered"].items()},
        decision=decision,
        decision_gain=None if gain is None else _number(gain),
        postprocessing=tuple(steps),
        postprocessing_gains={str(name): _number(value) for name, value in gains.items()},
        parameters=parameters,
    )


def _parameters(document: dict[str, Any], n_members: int) -> dict[str, np.ndarray]:
    method, found, held = document["method"], dict[str, np.ndarray](), document["parameters"]
    if method in ("stack", "stack_mean") or (method == "auto" and "quantiles" not in held):
        bias = found["bias"] = _numbers(held, "bias", 1)
        coefficients = found["coefficients"] = _numbers(held, "coefficients", 2, 3)
        n = len(bias)
        if coefficients.shape not in ((n_members, n, n), (n_members, n)):
            raise ValueError(f"coefficients are {coefficients.shape}")
    if "quantiles" in held:
        quantiles = found["quantiles"] = _numbers(held, "quantiles", 3)
        scale = found["scale"] = _numbers(held, "scale", 3)
        if (len(quantiles), len(scale)) != (n_members, 2) or quantiles.shape[2] != scale.shape[2]:
            raise ValueError(f"quantiles are {quantiles.shape}, scale {scale.shape}")
    for name in _weights_in(method, held):
        weights = found[name] = _numbers(held, name, 1)
        if len(weights) != n_members or (weights < 0).any() or not math.isclose(weights.sum(), 1, abs_tol=1e-6):
            raise ValueError(f"{name} are negative or do not sum to one")
    if method == "auto" and "margin" in held:
        margin = found["margin"] = _numbers(held, "margin", 0)
        if margin < 0:
            raise ValueError(f"margin is {margin}, below 0")
    return found


def _weights_in(method: str, held: dict[str, Any]) -> tuple[str, ...]:
    """Return the parameters that are weights of a mean."""
    if method != "auto":
        return ()
    return ("rank", "power") if "quantiles" in held else WEIGHTED


def _numbers(document: dict[str, Any], name: str, *dimensions: int) -> np.ndarray:
    values = read_only(np.array(document[name], dtype=np.float64))
    if values.ndim not in dimensions or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, with {dimensions[0]} dimensions")
    return values


def _number(value: object) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not an integer")
    return value


def _interval(value: Any) -> Interval:
    low, high = value
    return _number(low), _number(high)
