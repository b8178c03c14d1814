"""Prediction within a budget of time: a forecast, and the members of a blend that fit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from acoustic_kit.blending import Blend
from acoustic_kit.errors import AkitError, RunError
from acoustic_kit.files import read_regular, write_atomically
from acoustic_kit.metrics.names import get_metric
from acoustic_kit.prediction.budget import Budget, Costs, Judged, cheapest, choose_members
from acoustic_kit.prediction.models import Predictor
from acoustic_kit.prediction.new_clips import NO_FILE
from acoustic_kit.prediction.reduced_blend import ReducedBlends
from acoustic_kit.prediction.rows import RowPlan
from acoustic_kit.prediction.slices import FinishedSlices
from acoustic_kit.tables import duration

SHARE = 0.02  # of the budget that measuring takes, about
SECONDS = (3.0, 30.0)  # that measuring takes at least and at most, about, unless a few clips take longer


@dataclass(frozen=True)
class Forecast:
    """The seconds that a prediction takes by all members, and the members that fit the budget."""

    predictor: Predictor  # with all members
    n_clips: int
    budget: float  # s
    spent: float  # s, before the prediction begins
    costs: Costs
    judged: tuple[Judged, ...] = ()  # members, if some had to be dropped
    nested: tuple[float, float] = (math.nan, math.nan)  # estimates with all members, and with those that are kept

    @property
    def kept(self) -> list[int]:
        """The positions of the members that predict."""
        return [one.member for one in self.judged if one.is_kept] or list(range(len(self.costs.models)))

    @property
    def seconds(self) -> float:
        """The whole time, with the members that predict."""
        return self.spent + self.costs.of(self.kept)


def fit_budget(
    predictor: Predictor,
    plan: RowPlan,
    budget: Budget,
    measure: Callable[[float], Costs],
    *,
    finished: FinishedSlices | None = None,
    on_forecast: Callable[[Forecast], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
) -> tuple[Predictor, Costs | None]:
    """Return the predictor, or the blend of those of its members that predict a plan within a budget, and its costs.

    The members are chosen by `choose_members`, and their blend is fitted again, see `ReducedBlends`. A choice is stored
    beside the slices that are finished, and read if the prediction resumes: then nothing is measured, and the costs are
    None.

    Parameters
    ----------
    measure : returns the costs of the plan's clips, after about so many seconds
    finished : where slices of this predictor are stored
    on_forecast : called with the forecast and the choice
    on_note : called with messages for the user

    Raises RunError if no member fits, or members cannot be chosen, with the reason.

    """
    if all(clip.path is NO_FILE for clip in plan.clips):
        return predictor, None
    stored = None if finished is None else _Stored.of(finished, plan, budget)
    if stored is not None and (chosen := stored.read(predictor)) is not None:
        names = ", ".join(member.run.name for member in chosen.members)
        on_note(f"Resumes with the members that were chosen before: {names}.")
        return chosen, None
    costs = measure(min(max(budget.seconds * SHARE, SECONDS[0]), SECONDS[1]))
    forecast = Forecast(predictor, len(plan.clips), budget.seconds, budget.spent, costs)
    if forecast.seconds > budget.seconds:
        forecast, predictor = _reduced(forecast, budget)
    on_forecast(forecast)
    if stored is not None:
        stored.write(forecast, predictor)
    of_members = [forecast.predictor.members.index(member) for member in predictor.members] or [0]
    return predictor, costs.only(of_members)


def _reduced(forecast: Forecast, budget: Budget) -> tuple[Forecast, Predictor]:
    """Return the forecast with a choice of members, and their blend. Raises RunError as `fit_budget` does."""
    predictor, costs = forecast.predictor, forecast.costs
    above = f"The forecast is {duration(forecast.seconds)}, above the budget of {duration(budget.seconds)}"
    if len(costs.models) == 1:
        raise RunError(f"{above}, and {predictor.name} has one member. {enough(forecast.seconds)} would suffice.")
    fastest, needed = cheapest(costs)
    needed += budget.spent
    hint = f"{predictor.members[fastest].run.name} alone takes {duration(needed)}: {enough(needed)} would suffice."
    if needed > budget.seconds:
        raise RunError(f"{above}, and no member fits. {hint}")
    try:
        blends = ReducedBlends.of(predictor)
        sign = get_metric(predictor.blend.metric).sign if predictor.blend else 1
        judged = choose_members(costs, lambda: budget.left, blends.estimate, sign)
        kept = [one.member for one in judged if one.is_kept]
        if kept:
            nested = blends.estimate(range(len(predictor.members))), blends.estimate(kept)
    except AkitError as error:
        raise RunError(f"{above}, and members of {predictor.name} cannot be dropped: {error}.\n{hint}") from error
    if not kept:
        raise RunError(f"{above}, and estimates of blends took the rest of it. {hint}")
    found = replace(forecast, spent=budget.spent, judged=tuple(judged), nested=nested)
    return found, blends.predictor_of(kept)


def enough(seconds: float) -> str:
    """Return the option for a budget that suffices, with a tenth in reserve."""
    needed = 1.1 * seconds
    return f"--budget {math.ceil(needed)}s" if needed < 120 else f"--budget {math.ceil(needed / 60)}m"


@dataclass(frozen=True)
class _Stored:
    """The file of a choice."""

    path: Path

    @staticmethod
    def of(finished: FinishedSlices, plan: RowPlan, budget: Budget) -> _Stored:
        return _Stored(finished.path_of(f"{budget.seconds} {[tuple(map(str, clip)) for clip in plan.clips]}", ".json"))

    def read(self, predictor: Predictor) -> Predictor | None:
        """Return the predictor of the chosen members; None if no choice is stored, or it is damaged."""
        try:
            found = json.loads(read_regular(self.path))
            members = tuple(predictor.members[int(position)] for position in found["members"])
            blend = None if found["blend"] is None else Blend.from_dict(found["blend"])
        except (OSError, ValueError, KeyError, TypeError, IndexError, AkitError):
            return None
        return replace(predictor, members=members, blend=blend)

    def write(self, forecast: Forecast, chosen: Predictor) -> None:
        """Store the choice of `chosen` among the members of the forecast's predictor."""
        members = [forecast.predictor.members.index(member) for member in chosen.members]
        blend = None if chosen.blend is None else chosen.blend.to_dict()
        write_atomically(self.path, json.dumps({"members": members, "blend": blend}))
