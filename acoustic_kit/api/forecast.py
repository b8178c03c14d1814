"""The forecast of a prediction as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acoustic_kit.tables import aligned, duration

if TYPE_CHECKING:
    from acoustic_kit.prediction.within_budget import Forecast


def describe_forecast(forecast: Forecast) -> str:
    """Return a forecast, its parts in seconds, and the choice of members if some were dropped."""
    whole = forecast.spent + forecast.costs.whole
    head = f"Forecast: {duration(whole)} for {forecast.n_clips:,} clips, of a budget of {duration(forecast.budget)}."
    lines = [head, *aligned(["", "seconds"], _parts(forecast), ["seconds"])]
    return "\n".join(lines + (_choice(forecast) if forecast.judged else []))


def _parts(forecast: Forecast) -> list[tuple[str, str]]:
    costs, features = forecast.costs, dict[str, float]()
    for key, seconds in costs.features.items():
        name = key.rpartition("-")[0]
        features[name] = features.get(name, 0.0) + seconds
    parts = [("until now", forecast.spent), ("decoding", costs.decoding)]
    parts += [(name, seconds) for name, seconds in features.items() if seconds > 0]
    names = [(member.run.name, len(member.folds)) for member in forecast.predictor.members]
    for (name, n), seconds in zip(names or [(forecast.predictor.name, 1)], costs.models, strict=True):
        parts.append((f"{name}, {n} model{'' if n == 1 else 's'}", seconds))
    return [(name, f"{seconds:.1f}") for name, seconds in parts]


def _choice(forecast: Forecast) -> list[str]:
    metric = forecast.predictor.blend.metric if forecast.predictor.blend else ""
    columns = ["member", "saves s", f"{metric} without", "choice"]
    rows = [
        (
            forecast.predictor.members[one.member].run.name,
            f"{one.seconds:.1f}",
            "" if one.without is None else f"{one.without:.4f}",
            "kept" if one.is_kept else "dropped",
        )
        for one in forecast.judged
    ]
    before, after = forecast.nested
    return [
        "",
        *aligned(columns, rows, columns[1:3]),
        f"With the kept members, whose blend was fitted again: {duration(forecast.seconds)}, nested estimate "
        f"{after:.4f}; with all {before:.4f}.",
    ]
