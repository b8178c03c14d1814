"""`akit submission pick 2` against the two best submissions by validation alone, in simulated competitions.

Usage: python benchmarks/pick.py [competitions, 200]. Prints the table of docs/submissions.md.

A competition has 8 models of 10 classes with errors shared by recordings (4 clips each), by models and by clips, and
submissions that are blends of them: two thirds are variations of two blends, as competitors make them. The clips of the
boards are of another kind: all models are worse, and each by an amount of its own (`shift`, in units of the models'
differences). Each pair is scored on `BOARDS` private boards.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace

import numpy as np

from acoustic_kit.metrics.bootstrap import paired_scores
from acoustic_kit.metrics.scores import score
from acoustic_kit.submission.pick import ClipCounts, agreement, best_set, estimate_private

MODELS, CLASSES, SUBMISSIONS, RECORDING = 8, 10, 15, 4
BOARDS = 10


@dataclass(frozen=True)
class Setting:
    """A kind of competition."""

    name: str
    validation: int = 400  # clips
    test: int = 600  # clips, 30 % of them public
    shift: float = 1.0
    noted: int = 0  # submissions with a public score: half of them the best by validation, the others any
    metric: str = "accuracy"

    @property
    def clips(self) -> ClipCounts:
        """Numbers of clips."""
        public = round(0.3 * self.test)
        return ClipCounts(self.validation, public, self.test - public)


SETTINGS = (
    Setting("no public scores, no shift", shift=0),
    Setting("no public scores, a shift"),
    Setting("3 public scores, a shift", noted=3),
    Setting("6 public scores, a shift", noted=6),
    Setting("10 public scores, a shift", noted=10),
    Setting("6 public scores, no shift", noted=6, shift=0),
    Setting("6 public scores, twice the shift", noted=6, shift=2),
    Setting("6 public scores, a shift, macro-F1", noted=6, metric="f1"),
    Setting("6 public scores, a shift, 5 times the clips", noted=6, validation=2000, test=3000),
)


@dataclass(frozen=True)
class Outcome:
    """What became of one competition."""

    gain: float  # of the pair over the two best by validation, mean over boards of the better one's score
    same: bool  # the pair is the two best by validation
    covered: float  # fraction of private scores in their intervals, around their mean if no public score is known
    verdict: str


def simulate(setting: Setting, seed: int) -> Outcome:
    """Return the outcome of a competition."""
    rng = np.random.default_rng(seed)
    skill = 2.2 + 0.15 * rng.normal(size=MODELS)
    elsewhere = skill + (-0.5 + 0.15 * rng.normal(size=MODELS)) * setting.shift
    weights = _blends(rng)
    targets, groups, predictions = _predict(rng, setting.validation, skill, weights)
    draws = paired_scores(setting.metric, targets, list(predictions), groups, resamples=400)
    nested = _scores(setting, targets, predictions)
    best_first = np.argsort(-nested, kind="stable")
    public = np.full(SUBMISSIONS, np.nan)
    noted = best_first[: setting.noted // 2].tolist()
    noted += rng.choice(best_first[len(noted) :], setting.noted - len(noted), replace=False).tolist()
    on_board = _board(rng, setting, setting.clips.public, elsewhere, weights)
    public[noted] = on_board[noted]
    covariance = np.cov(draws.T)
    found = estimate_private(nested, covariance, setting.clips, public)
    pair, two_best = list(best_set(found.draws(n=4000), 2)), best_first[:2]
    private = np.stack([_board(rng, setting, setting.clips.private, elsewhere, weights) for _ in range(BOARDS)])
    gain = private[:, pair].max(axis=1) - private[:, two_best].max(axis=1)
    if not noted:  # a shift common to all is unknown: differences from the mean
        center = np.eye(SUBMISSIONS) - 1 / SUBMISSIONS
        private, found = (
            private @ center,
            replace(found, mean=found.mean @ center, covariance=center @ found.covariance @ center),
        )
    low, high = found.intervals().T
    compared = agreement(nested, covariance, setting.clips, public)
    return Outcome(
        float(gain.mean()),
        set(pair) == set(two_best.tolist()),
        float(((low <= private) & (private <= high)).mean()),
        compared.verdict if compared else "",
    )


def _blends(rng: np.random.Generator) -> np.ndarray:
    """Return the weights of the models in each submission, (submissions, models)."""
    bases = rng.dirichlet(np.full(MODELS, 0.5), size=2)
    varied = bases[rng.integers(2, size=SUBMISSIONS)] + 0.15 * rng.dirichlet(np.full(MODELS, 0.5), size=SUBMISSIONS)
    others = rng.dirichlet(np.full(MODELS, 0.4), size=SUBMISSIONS)
    mixed = np.where(np.arange(SUBMISSIONS)[:, None] < 2 * SUBMISSIONS // 3, varied, others)
    return np.asarray(mixed / mixed.sum(axis=1, keepdims=True))


def _predict(
    rng: np.random.Generator, n: int, skill: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return targets, recordings, and the submissions' probabilities (submissions, clips, classes) of n clips."""
    targets, groups = rng.integers(CLASSES, size=n), np.arange(n) // RECORDING
    shared = 0.7 * (rng.normal(size=(n // RECORDING + 1, CLASSES))[groups] + rng.normal(size=(n, CLASSES)))
    logits = shared + rng.normal(size=(MODELS, n, CLASSES)) + skill[:, None, None] * np.eye(CLASSES)[targets]
    odds = np.exp(logits - logits.max(axis=2, keepdims=True))
    return targets, groups, np.tensordot(weights, odds / odds.sum(axis=2, keepdims=True), 1)


def _board(rng: np.random.Generator, setting: Setting, n: int, skill: np.ndarray, weights: np.ndarray) -> np.ndarray:
    targets, _, predictions = _predict(rng, n, skill, weights)
    return _scores(setting, targets, predictions)


def _scores(setting: Setting, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return np.array([score(setting.metric, targets, one) for one in predictions])


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"{n} competitions each\n")
    print("| competitions | points gained | the same pair | intervals cover | agree, disagree, unclear |")
    print("| --- | --- | --- | --- | --- |")
    for setting in SETTINGS:
        found = [simulate(setting, seed) for seed in range(n)]
        gains = 100 * np.array([one.gain for one in found])
        verdicts = [sum(one.verdict == name for one in found) / n for name in ("agree", "disagree", "unclear")]
        print(
            f"| {setting.name} | {gains.mean():+.2f} ± {gains.std(ddof=1) / math.sqrt(n):.2f} "
            f"| {np.mean([one.same for one in found]):.0%} | {np.mean([one.covered for one in found]):.1%} "
            f"| {', '.join(f'{one:.0%}' for one in verdicts) if setting.noted else ''} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
