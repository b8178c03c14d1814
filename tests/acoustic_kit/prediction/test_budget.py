"""A budget of time keeps the members that are worth most, by made timings."""

from collections.abc import Callable, Sequence

import pytest

from acoustic_kit.errors import UsageError
from acoustic_kit.prediction.budget import Costs, Judged, cheapest, choose_members, parse_time

# Three members: the first two read one spectrogram, the third a feature of its own.
COSTS = Costs(
    decoding=10.0,
    features={"wave": 0.0, "mel": 40.0, "ast": 100.0},
    models=(20.0, 30.0, 50.0),
    needs=(frozenset({"wave", "mel"}), frozenset({"wave", "mel"}), frozenset({"wave", "ast"})),
)


def worth(scores: dict[str, float]) -> Callable[[Sequence[int]], float]:
    """Return nested estimates of members, named by their positions as text."""
    return lambda members: scores["".join(map(str, members))]


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("90m", 5400), ("2h", 7200), ("1h30m", 5400), (" 1.5H ", 5400), ("1m5s", 65)]
)
def test_a_time_has_units(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["90", "", "m", "0s", "-5m", "30m1h", "nanm", "1e9h", "90 m x"])
def test_a_time_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--budget"):
        parse_time(text)


def test_a_shared_feature_is_paid_once() -> None:
    assert COSTS.of([0, 1, 2]) == 10 + 40 + 100 + 20 + 30 + 50
    assert COSTS.of([0]) == 10 + 40 + 20
    assert [COSTS.alone(member, [0, 1, 2]) for member in range(3)] == [20, 30, 150]
    assert COSTS.alone(0, [0, 2]) == 60  # its feature is no longer shared
    assert cheapest(COSTS) == (0, 70)


def test_all_fit_and_nothing_is_estimated() -> None:
    judged = choose_members(COSTS, lambda: 250.0, worth({}))
    assert judged == [Judged(0, 20, None, True), Judged(1, 30, None, True), Judged(2, 150, None, True)]


def test_the_member_that_loses_least_per_second_is_dropped() -> None:
    scores = {"012": 0.90, "12": 0.89, "02": 0.88, "01": 0.87}
    judged = choose_members(COSTS, lambda: 100.0, worth(scores))  # the others together do not free 150 s
    assert [one.is_kept for one in judged] == [True, True, False]
    assert judged[2] == Judged(2, 150, 0.87, False)
    assert judged[0].without == 0.89


def test_seconds_beyond_the_lacking_ones_save_nothing() -> None:
    scores = {"012": 0.900, "12": 0.895, "02": 0.890, "01": 0.880}
    judged = choose_members(COSTS, lambda: 235.0, worth(scores))
    assert [one.is_kept for one in judged] == [False, True, True]


def test_losses_are_of_lower_scores_if_lower_is_better() -> None:
    scores = {"012": 0.30, "12": 0.29, "02": 0.40, "01": 0.50}
    judged = choose_members(COSTS, lambda: 235.0, worth(scores), sign=-1)
    assert [one.is_kept for one in judged] == [False, True, True]


def test_members_are_dropped_until_the_rest_fits() -> None:
    scores = {"012": 0.9, "12": 0.8, "02": 0.8, "01": 0.85, "1": 0.84, "0": 0.7}
    judged = choose_members(COSTS, lambda: 80.0, worth(scores))
    assert [one.is_kept for one in judged] == [False, True, False]
    assert [one.without for one in judged] == [0.84, 0.7, 0.85]  # as they were judged last


def test_a_member_that_does_not_fit_alone_is_dropped_first() -> None:
    scores = {"012": 0.9, "12": 0.9, "02": 0.9, "01": 0.8}
    judged = choose_members(COSTS, lambda: 159.0, worth(scores))  # the third alone needs 160 s
    assert [one.is_kept for one in judged] == [True, True, False]


def test_nothing_is_estimated_if_no_member_fits() -> None:
    judged = choose_members(COSTS, lambda: 69.0, worth({}))
    assert [one.is_kept for one in judged] == [False, False, False]


def test_the_time_of_the_estimates_counts() -> None:
    left = iter([300.0, 235.0, 85.0, 85.0])
    scores = {"012": 0.900, "12": 0.899, "02": 0.890, "01": 0.880, "1": 0.7, "2": 0.6}
    judged = choose_members(COSTS, lambda: next(left), worth(scores))
    assert [one.is_kept for one in judged] == [False, True, False]
