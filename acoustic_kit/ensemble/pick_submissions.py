"""The submissions of a workspace to choose for the private board: records and predictions for `submission.pick`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from acoustic_kit.blending.blend import Blend
from acoustic_kit.blending.recordings import Recordings
from acoustic_kit.ensemble.blend_submission import recorded_members
from acoustic_kit.ensemble.candidates import common_clips
from acoustic_kit.errors import AkitError, SubmissionError, UsageError
from acoustic_kit.metrics.bootstrap import paired_scores
from acoustic_kit.metrics.names import get_metric
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.submission.pick import Agreement, ClipCounts, agreement, best_set, estimate_private
from acoustic_kit.submission.record import SubmissionRecord, list_records
from acoustic_kit.workspace.workspace import Workspace

PUBLIC_FRACTION = 0.3  # of the test clips, if the competition does not say


@dataclass(frozen=True)
class ScoredSubmission:
    """A submission, and what the private board may say of it."""

    name: str
    nested: float
    nested_interval: tuple[float, float] | None  # 95 %, as recorded
    public: float | None
    private: float  # expected
    private_interval: tuple[float, float]  # 95 %
    chosen: bool


@dataclass(frozen=True)
class Pick:
    """The submissions to choose, and why.

    Without public scores, private scores are those of clips like the training clips: the shift of the board is unknown.
    """

    names: tuple[str, ...]  # best first
    expected: float  # the better one's score on the private board, on average
    interval: tuple[float, float]  # 95 % of it
    best_by_nested: tuple[str, ...]  # as many, by the nested estimate alone
    expected_by_nested: float  # the better one's of these
    agreement: Agreement | None  # None if fewer than three submissions have a public score
    shift: float | None  # of the board, common to all submissions; None without public scores
    shift_interval: tuple[float, float] | None  # 95 %
    metric: str
    clips: ClipCounts
    submissions: tuple[ScoredSubmission, ...]  # best expected score first
    left_out: dict[str, str]  # submission → why it is not a candidate


def pick_submissions(
    workspace: Workspace,
    n: int = 2,
    *,
    public_fraction: float = PUBLIC_FRACTION,
    test_clips: int | None = None,
    on_unreadable: Callable[[str], None] = lambda _: None,
) -> Pick:
    """Choose the submissions whose best one has the highest expected score on the private board.

    Parameters
    ----------
    n : how many to choose
    public_fraction : fraction of the test clips that the public board scores, above 0 and below 1
    test_clips : their number, if the competition scores others than those of the manifest
    on_unreadable : called with the reason why a record is left out

    Raises UsageError for options out of range, SubmissionError for fewer than `n` submissions with a nested estimate
    in the workspace's metric on the same clips.

    """
    if n < 1:
        raise UsageError(f"pick {n}: choose at least 1 submission.")
    if not 0 < public_fraction < 1:
        raise UsageError(f"--public-fraction {public_fraction:g}: write a number above 0 and below 1, such as 0.3.")
    if test_clips is not None and test_clips < 2:
        raise UsageError(f"--test-clips {test_clips}: at least 2, one on each board.")
    records = list_records(workspace.submissions_path, on_unreadable)
    left_out = _reasons_to_leave_out(workspace, records)
    blended = _blended(workspace, {name: one for name, one in records.items() if name not in left_out}, left_out)
    if len(blended) < n:
        reasons = "; ".join(f"{name} {why}" for name, why in left_out.items())
        raise SubmissionError(
            f"{n} submissions are asked for, and {len(blended)} can be compared. "
            + (f"Left out: {reasons}." if reasons else "`akit blend --name NAME` writes one.")
        )
    covariance, n_clips = _covariance(workspace, blended)
    n_test = max(2, test_clips or len(workspace.clip_ids("test")))
    n_public = min(max(1, round(public_fraction * n_test)), n_test - 1)
    clips = ClipCounts(n_clips, n_public, n_test - n_public)
    compared = {name: records[name] for name in blended}
    return _pick(n, workspace.metric(), compared, covariance, clips, left_out)


def _reasons_to_leave_out(workspace: Workspace, records: Mapping[str, SubmissionRecord]) -> dict[str, str]:
    """Return submission → why its nested estimate cannot be compared with the others'."""
    found, metric, first = {}, str(workspace.metric()), dict[str, str]()
    for name, record in sorted(records.items(), key=lambda pair: pair[1].public is None):  # keep the one with a score
        if record.metric != metric:
            found[name] = f"was blended for {record.metric}, not {metric}"
        elif record.scores is None or record.scores.nested is None:
            found[name] = "has no nested estimate"
        elif (same := first.setdefault(record.sha256, name)) != name:
            found[name] = f"is the same file as {same}"
    parts = {name: one.scores.scored_on for name, one in records.items() if name not in found and one.scores}
    counts = Counter(parts.values())
    part = min(counts, key=lambda one: (one != "", -counts[one]), default="")
    for name, own in parts.items():
        if own != part:
            found[name] = f"was scored on other clips ({own or 'all'})"
    return found


def _blended(
    workspace: Workspace, records: Mapping[str, SubmissionRecord], left_out: dict[str, str]
) -> dict[str, tuple[Blend, list[Predictions]]]:
    """Return the blend of each submission, and the out-of-fold predictions of its runs.

    Submissions whose runs are missing or changed, or whose record is damaged, are added to `left_out`.
    """
    found, read = {}, dict[str, Predictions]()
    for name, record in records.items():
        try:
            blend, members = Blend.from_dict(record.blend), recorded_members(workspace, record)
            if len(blend.weights) != len(members):
                raise SubmissionError(f"its record lists {len(members)} of {len(blend.weights)} blended runs")
            for one in members:
                oof = read.get(one.name) or one.predictions("oof", workspace.task_spec.names)
                if oof is None:
                    raise SubmissionError(f"{one.name} has no out-of-fold predictions any more")
                read[one.name] = oof
            found[name] = blend, [read[one.name] for one in members]
        except AkitError as error:
            left_out[name] = f"cannot be compared: {str(error).rstrip('.')}"
    return found


def _covariance(
    workspace: Workspace, blended: Mapping[str, tuple[Blend, Sequence[Predictions]]]
) -> tuple[np.ndarray, int]:
    """Return the covariance of the submissions' scores, by a paired bootstrap, and the number of clips.

    The blends were fitted to the predictions that are scored here: their scores are too high, but vary alike.
    """
    train = workspace.training_set
    oofs = [oof for _, of_runs in blended.values() for oof in of_runs]
    clips = train.filter(common_clips(train, oofs, whole_folds=False))
    if len(clips) < 2:
        raise SubmissionError(
            "The submissions' runs have no training clips in common, on which they could be compared."
        )
    recordings = Recordings.of(clips.rows["path"], clips.rows["start"])
    predictions = []
    for name, (blend, of_runs) in blended.items():
        try:
            predictions.append(blend.predict([oof.aligned(clips.ids) for oof in of_runs], recordings))
        except ValueError as error:
            raise SubmissionError(f"{name}.json is not a record of these runs: {error}.") from error
    groups = recordings.groups() if recordings and not clips.n_groups else clips.groups
    draws = paired_scores(workspace.metric(), clips.targets, predictions, groups)
    if len(draws) < 2:
        raise SubmissionError(
            f"{workspace.metric()} has no value in resampled training clips; nothing can be compared."
        )
    return np.atleast_2d(np.cov(draws.T)), len(clips)


def _pick(
    n: int,
    metric: str,
    records: Mapping[str, SubmissionRecord],
    covariance: np.ndarray,
    clips: ClipCounts,
    left_out: dict[str, str],
) -> Pick:
    """Choose among records with a nested estimate; `covariance` is in their order."""
    names, measured = list(records), get_metric(metric)
    sign, limits = measured.sign, (measured.lowest, measured.highest)
    nested = sign * np.array([one.scores.nested if one.scores else np.nan for one in records.values()], float)
    public = sign * np.array([np.nan if one.public is None else one.public for one in records.values()])
    found = estimate_private(nested, covariance, clips, public)
    draws = sign * np.clip(sign * found.draws(), *limits)
    chosen, by_nested = best_set(draws, n), np.argsort(-nested, kind="stable")[:n]
    best = draws[:, list(chosen)].max(axis=1)
    shift = found.shift_interval()
    return Pick(
        names=tuple(names[i] for i in chosen),
        expected=sign * float(best.mean()),
        interval=_ordered(sign * np.quantile(best, [0.025, 0.975])),
        best_by_nested=tuple(names[i] for i in by_nested),
        expected_by_nested=sign * float(draws[:, by_nested].max(axis=1).mean()),
        agreement=agreement(nested, covariance, clips, public),
        shift=None if found.shift is None else sign * found.shift[0],
        shift_interval=None if shift is None else _ordered(sign * np.array(shift)),
        metric=str(metric),
        clips=clips,
        submissions=_standings(records, draws, chosen, sign),
        left_out=left_out,
    )


def _standings(
    records: Mapping[str, SubmissionRecord], draws: np.ndarray, chosen: Sequence[int], sign: int
) -> tuple[ScoredSubmission, ...]:
    """Return all submissions, the best expected score first; `draws` of their private scores, higher is better."""
    rows, means, intervals = list(records.items()), draws.mean(axis=0), np.quantile(draws, [0.025, 0.975], axis=0).T
    standings = []
    for i in np.argsort(-means, kind="stable").tolist():
        name, record = rows[i]
        assert record.scores is not None
        assert record.scores.nested is not None
        low, high = record.scores.interval
        standings.append(
            ScoredSubmission(
                name=name,
                nested=record.scores.nested,
                nested_interval=None if low is None or high is None else (low, high),
                public=record.public,
                private=sign * float(means[i]),
                private_interval=_ordered(sign * intervals[i]),
                chosen=i in chosen,
            )
        )
    return tuple(standings)


def _ordered(interval: np.ndarray) -> tuple[float, float]:
    return float(interval.min()), float(interval.max())
