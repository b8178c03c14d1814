"""A blend that was chosen: how it combines runs, what it is worth, and its form in a file."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from acoustic_kit.blending.arrays import checked
from acoustic_kit.blending.combine import FIXED, METHOD_NAMES, WEIGHTED, combine, decided
from acoustic_kit.errors import AkitError, UsageError

Interval = tuple[float, float]
NONE: Interval = (math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Blend:
    """Runs that were chosen, how they are combined, and what that is worth in the metric it was chosen by."""

    members: tuple[int, ...]  # positions of the chosen runs, best first
    weights: np.ndarray  # float64 (runs,), each run's share, not negative, sums to one; 0 for one that was not chosen
    method: str  # the one that combines the runs
    task: str  # "single" or "multi"
    score: float  # on the predictions that chose it: optimistic
    nested_score: float  # chosen on some folds, scored on the others; nan where that was impossible
    interval: Interval  # 95 % bootstrap interval of the nested score; nan where there is none
    single_best: tuple[int, float]  # the best run's position and its own score
    asked: str = "mean"  # the method that was asked for: "auto", or `method`
    metric: str = "f1"
    gain: float = math.nan  # nested score less that of the best single run, which too is chosen on the other folds
    gain_interval: Interval = NONE  # 95 %, paired: both scored on the same resampled groups
    considered: dict[str, float] = field(default_factory=dict)  # nested score of each method that `auto` averages
    decision: np.ndarray | None = None  # float64 (classes,), factors of the odds; None leaves them
    decision_gain: float | None = None  # nested gain of tuned factors, kept or not; None if they were not tried
    parameters: dict[str, np.ndarray] = field(default_factory=dict)  # what the method fitted, of the members in order

    @property
    def beats_best_run(self) -> bool | None:
        """Whether the blend beats the best single run beyond noise; None where there is no nested estimate."""
        return None if math.isnan(self.gain_interval[0]) else self.gain_interval[0] > 0

    def predict(self, probabilities: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Return the blend of new clips: (runs, clips, classes) of the same runs in the same order → (clips, classes).

        float64; rows sum to one (single label). Raises ValueError for another number of runs or classes, a wrong shape
        or non-finite values.
        """
        runs = checked(probabilities)
        if len(runs) != len(self.weights):
            raise ValueError(f"the blend was chosen among {len(self.weights)} runs; here are {len(runs)}")
        runs = [runs[run] for run in self.members]
        blended = combine(self.method, runs, self.weights[list(self.members)], self.parameters, self.task)
        return blended if self.decision is None else decided(blended, self.decision, self.task)

    def of_members(self) -> "Blend":
        """The same blend as one of its members alone, in their order, best first.

        ``blend.of_members().predict(probabilities[list(blend.members)])`` equals ``blend.predict(probabilities)``.
        ``single_best`` has position -1 where the best run is no member.
        """
        best, value = self.single_best
        return replace(
            self,
            members=tuple(range(len(self.members))),
            weights=read_only(self.weights[list(self.members)]),
            single_best=(self.members.index(best) if best in self.members else -1, value),
        )

    def to_dict(self) -> dict[str, Any]:
        """The blend as what JSON can hold, numbers exactly; `from_dict` reads it. nan becomes None."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_dict(cls, document: object) -> "Blend":
        """The blend that `to_dict` wrote. Raises AkitError where the document is damaged or of another version."""
        try:
            return _read(document)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise AkitError(
                f"This is no blend that akit can read ({error}); make it again with `akit blend`."
            ) from None


def plain_blend(n_runs: int, method: str, task: str, members: Iterable[int] | None = None) -> Blend:
    """A blend by ``mean``, ``geometric`` or ``rank`` of which nothing is known: without labels nothing is scored.

    Raises UsageError for a method that has to be fitted.
    """
    if method not in FIXED:
        raise UsageError(f"{method!r} needs labels to fit on; without them there are: {', '.join(FIXED)}")
    chosen = tuple(range(n_runs)) if members is None else tuple(members)
    weights = np.zeros(n_runs)
    weights[list(chosen)] = 1 / len(chosen)
    return Blend(chosen, read_only(weights), method, task, math.nan, math.nan, NONE, (-1, math.nan), asked=method)


def read_only(values: np.ndarray) -> np.ndarray:
    """A float64 copy that nobody can write to."""
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
        raise TypeError("it is no table")
    weights, method, task = _numbers(document, "weights", 1), document["method"], document["task"]
    if method not in (*METHOD_NAMES, "stack_mean") or task not in ("single", "multi"):
        raise ValueError(f"method {method!r} of a {task!r} task")
    if (weights < 0).any() or not math.isclose(weights.sum(), 1, abs_tol=1e-6):
        raise ValueError("weights are no shares")
    members = tuple(_whole(run) for run in document["members"])
    if sorted(members) != np.flatnonzero(weights).tolist():
        raise ValueError("members are not the runs with weights")
    parameters = _parameters(document, len(members))
    decision = None if document["decision"] is None else _numbers(document, "decision", 1)
    if decision is not None and (decision <= 0).any():
        raise ValueError("a factor of the decision is not positive")
    if decision is not None and "bias" in parameters and decision.shape != parameters["bias"].shape:
        raise ValueError("the decision has another number of classes")
    best, best_score = document["single_best"]
    gain = document["decision_gain"]
    return Blend(
        members=members,
        weights=weights,
        method=method,
        task=task,
        score=_number(document["score"]),
        nested_score=_number(document["nested_score"]),
        interval=_interval(document["interval"]),
        single_best=(_whole(best), _number(best_score)),
        asked=str(document["asked"]),
        metric=str(document["metric"]),
        gain=_number(document["gain"]),
        gain_interval=_interval(document["gain_interval"]),
        considered={str(name): _number(value) for name, value in document["considered"].items()},
        decision=decision,
        decision_gain=None if gain is None else _number(gain),
        parameters=parameters,
    )


def _parameters(document: dict[str, Any], n_members: int) -> dict[str, np.ndarray]:
    method, found, held = document["method"], dict[str, np.ndarray](), document["parameters"]
    if method in ("auto", "stack", "stack_mean"):
        bias = found["bias"] = _numbers(held, "bias", 1)
        coefficients = found["coefficients"] = _numbers(held, "coefficients", 2, 3)
        n = len(bias)
        if coefficients.shape not in ((n_members, n, n), (n_members, n)):
            raise ValueError(f"coefficients are {coefficients.shape}")
    for name in WEIGHTED if method == "auto" else ():
        shares = found[name] = _numbers(held, name, 1)
        if len(shares) != n_members or (shares < 0).any() or not math.isclose(shares.sum(), 1, abs_tol=1e-6):
            raise ValueError(f"{name} are no shares")
    if method == "auto" and "margin" in held:
        margin = found["margin"] = _numbers(held, "margin", 0)
        if margin < 0:
            raise ValueError(f"margin is {margin}, below 0")
    return found


def _numbers(document: dict[str, Any], name: str, *dimensions: int) -> np.ndarray:
    values = read_only(np.array(document[name], dtype=np.float64))
    if values.ndim not in dimensions or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"{name} are no finite numbers of {dimensions[0]} dimensions")
    return values


def _number(value: object) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _interval(value: Any) -> Interval:
    low, high = value
    return _number(low), _number(high)
