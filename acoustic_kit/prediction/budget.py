"""Choice of the members of a blend that predict within a time, from measured seconds and nested estimates."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from acoustic_kit.errors import UsageError

_UNITS = {"h": 3600, "m": 60, "s": 1}
_TIME = re.compile(r"".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?){unit})?" for unit in _UNITS))


def parse_time(text: str) -> float:
    """Return the seconds of a time with units: `45s`, `90m`, `2h`, `1h30m`. Raises UsageError for anything else."""
    parts = match.groupdict() if (match := _TIME.fullmatch(text.strip().lower())) else {}
    seconds = sum(float(value) * _UNITS[unit] for unit, value in parts.items() if value)
    if seconds <= 0:
        plain = text.strip() if re.fullmatch(r"\d+(\.\d+)?", text.strip()) else "90"
        raise UsageError(f"--budget {text[:40]!r}: write a time with its unit, such as {plain}s, {plain}m or 1h30m.")
    return seconds


@dataclass(frozen=True)
class Budget:
    """A time within which a command is to end."""

    seconds: float
    began: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        """The seconds since the command began."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float:
        """The seconds that are left; below 0 if it is over."""
        return self.seconds - self.spent


@dataclass(frozen=True)
class Costs:
    """Seconds that the prediction of some clips takes, by what they are spent on."""

    decoding: float  # once, whatever the members
    features: Mapping[str, float]  # key → seconds, without those of the features that it is computed from
    models: tuple[float, ...]  # of each member: loading and prediction, over its fold models
    needs: tuple[frozenset[str], ...]  # of each member: the keys of its features and of all that they are computed from

    @property
    def whole(self) -> float:
        """The seconds of a prediction by all members."""
        return self.of(range(len(self.models)))

    def of(self, members: Collection[int]) -> float:
        """Return the seconds of a prediction by some members; a feature of several of them is computed once."""
        needed = frozenset[str]().union(*(self.needs[member] for member in members))
        return self.decoding + sum(self.features[key] for key in needed) + sum(self.models[m] for m in members)

    def only(self, members: Sequence[int]) -> Costs:
        """Return the costs of a prediction by some members, in this order."""
        needs = tuple(self.needs[member] for member in members)
        features = {key: seconds for key, seconds in self.features.items() if any(key in keys for keys in needs)}
        return Costs(self.decoding, features, tuple(self.models[member] for member in members), needs)

    def alone(self, member: int, members: Collection[int]) -> float:
        """Return the seconds that are saved if a member is dropped: what it does not share with the others."""
        return self.of(members) - self.of([other for other in members if other != member])


class Judged(NamedTuple):
    """A member of a blend, as it was judged last."""

    member: int
    seconds: float  # that dropping it saves
    without: float | None  # nested estimate of the blend without it; None if no member had to be dropped
    is_kept: bool


def choose_members(
    costs: Costs,
    left: Callable[[], float],
    estimate: Callable[[Sequence[int]], float],
    sign: int = 1,
) -> list[Judged]:
    """Drop members, one after another, until the others predict in the time that is left.

    Each step drops the member without which the nested estimate loses least per second saved, first of those that do
    not fit alone. Seconds beyond those that are lacking save nothing, so a cheap member that suffices is dropped before
    an expensive one that is worth more.

    Parameters
    ----------
    costs : of the prediction
    left : returns the seconds that are left; called again at each step, as estimates take time
    estimate : returns the nested estimate of a blend of some members
    sign : 1 if greater estimates are better, -1 if lower ones are

    Returns
    -------
    All members in the order of `costs`. None is kept if no single one fits: then `cheapest` says which needs least.

    """
    members = list(range(len(costs.models)))
    judged = {member: Judged(member, costs.alone(member, members), None, True) for member in members}
    if cheapest(costs)[1] > left():
        return [one._replace(is_kept=False) for one in judged.values()]
    while (lacking := costs.of(members) - (limit := left())) > 0:
        if len(members) == 1:  # the estimates took too long
            members = []
            break
        whole = sign * estimate(members)
        step = []
        for member in members:
            others = [other for other in members if other != member]
            step.append(Judged(member, costs.alone(member, members), estimate(others), True))
        judged |= {one.member: one for one in step}
        too_slow = [one for one in step if costs.of([one.member]) > limit]
        dropped = min(too_slow or step, key=lambda one: _loss_per_second(whole, sign, one, lacking))
        members.remove(dropped.member)
    return [one._replace(is_kept=one.member in members) for one in judged.values()]


def _loss_per_second(whole: float, sign: int, one: Judged, lacking: float) -> float:
    assert one.without is not None
    saved = min(one.seconds, lacking)
    loss = whole - sign * one.without
    return loss / saved if saved > 0 and math.isfinite(loss) else math.inf


def cheapest(costs: Costs) -> tuple[int, float]:
    """Return the member that alone needs the fewest seconds, and these."""
    return min(((m, costs.of([m])) for m in range(len(costs.models))), key=lambda found: found[1])
