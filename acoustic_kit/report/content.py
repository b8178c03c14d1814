"""Content of a report as one tree of plain values; `build.py` makes it from a workspace, `page.py` renders it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    """Row of the leaderboard: a run, or the seeds of one setting."""

    rank: int | None  # None if the score is missing or is of other clips than the first row's
    names: tuple[str, ...]  # of the runs, best first
    score: float | None  # the mean over seeds; None without out-of-fold predictions
    interval: tuple[float, float] | None  # 95 %, bootstrap over groups
    spread: float | None  # the standard deviation over folds
    folds: str  # finished folds, `4/5`; for imported predictions of some clips, `39/320 clips`
    seconds: float  # wall time, the mean over seeds
    marks: tuple[str, ...]  # such as "fast" or "optimistic"
    settings: tuple[str, ...]  # those that differ from the recipe's defaults
    notes: tuple[str, ...]  # of the user, and remarks


@dataclass(frozen=True)
class Line:
    """Line of a chart, from left to right; NaN if the line is interrupted."""

    name: str
    x: np.ndarray  # float (points,)
    y: np.ndarray  # float (points,)
    bold: bool = False


@dataclass(frozen=True)
class Curve:
    """One metric of a training stage over epochs."""

    figure: str  # "loss", or a metric
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class TrainingCurves:
    """Learning curves of one stage of a run."""

    run: str
    stage: str
    folds: int
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Confusion:
    """Confusion matrix."""

    classes: tuple[str, ...]
    counts: np.ndarray  # int (classes, classes): row true, column predicted
    n_classes: int  # of the data set; more than `classes` if the whole matrix would be too large to read
    pairs: tuple[
        tuple[str, str, int, float], ...
    ]  # the most frequent mistakes: true, predicted, clips, fraction of true


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class."""

    name: str
    support: int  # clips with this label
    precision: float | None  # None if no clip is predicted as this class
    recall: float | None  # None if no clip has this label
    f1: float | None
    average_precision: float | None  # only in multi-label tasks; None if no clip has this label


@dataclass(frozen=True)
class Reliability:
    """Accuracy by confidence."""

    edges: np.ndarray  # float (bins + 1,)
    counts: np.ndarray  # int (bins,): number of predictions
    confidence: np.ndarray  # float (bins,): mean probability; NaN in an empty bin
    accuracy: np.ndarray  # float (bins,): fraction of correct predictions; NaN in an empty bin
    ece: float  # expected calibration error: |accuracy - confidence|, averaged over the predictions
    what: str  # "the first label", or "every class of every clip"


@dataclass(frozen=True)
class Evaluation:
    """Scores of the out-of-fold predictions of one run or blend."""

    name: str
    kind: str  # "run" or "blend"
    score: float
    n_clips: int
    caveats: tuple[str, ...]  # reasons why the score is biased upward, or covers only some clips
    confusion: Confusion | None  # None in multi-label tasks
    classes: tuple[ClassScores, ...]
    reliability: Reliability


@dataclass(frozen=True)
class Correlation:
    """Correlation of the errors of runs."""

    names: tuple[str, ...]
    values: np.ndarray  # float (runs, runs), NaN if the errors of a run do not vary
    n_clips: int
    left_out: int  # runs that predicted other clips, or are ranked too low


@dataclass(frozen=True)
class Weight:
    """Weight of one run in a blend."""

    name: str
    share: float
    score: float | None  # of the run itself, if the blend's metric is that of the report


@dataclass(frozen=True)
class Blended:
    """Blended submission."""

    name: str
    method: str
    metric: str
    created: str
    runs: int
    out_of_fold: float | None
    nested: float | None  # the estimate to rely on
    interval: tuple[float, float] | None
    best_run: tuple[str, float] | None
    mean_of_all: float | None
    gain: tuple[float, float, float] | None  # nested, positive if better than the best run, with its 95 % interval
    public: float | None  # on the competition's leaderboard
    note: str
    weights: tuple[Weight, ...]  # the largest first


@dataclass(frozen=True)
class AudioPreview:
    """Audio, waveform and spectrogram of a clip."""

    audio: str  # data URI, FLAC
    seconds: float  # of the audio
    cut: bool  # the clip is longer
    peaks: np.ndarray  # float32 (2, columns): the lowest and the highest sample of each segment, full scale ±1
    spectrogram: str  # data URI, PNG: mel bands upwards, time to the right
    top: float  # Hz, the spectrogram's upper edge


@dataclass(frozen=True)
class Mistake:
    """Clip with a wrong and confident prediction."""

    id: str
    path: str  # and which part of the file, if it is not all of it
    true: tuple[str, ...]
    predicted: tuple[tuple[str, float], ...]  # classes and their probabilities, highest first
    wrong: str  # the wrong class: predicted and not true, or, in multi-label tasks, missed
    probability: float  # that the prediction assigns to the wrong answer
    wrong_runs: int  # that are wrong on this clip as well
    scored_runs: int
    sound: AudioPreview | None
    silent_because: str  # why there is no audio


@dataclass(frozen=True)
class Mistakes:
    """Most confident mistakes of a run or a blend."""

    of: str  # name of the run or blend
    clips: tuple[Mistake, ...]  # the worst first
    n: int  # total number of clips with a wrong decision


@dataclass(frozen=True)
class Report:
    """Content of a report."""

    workspace: str
    metric: str
    task: str
    n_train: int
    n_test: int
    n_extra: int
    targets: tuple[tuple[str, str], ...]  # soft and unknown targets and weights: name and figures, see `TargetSummary`
    classes: tuple[str, ...]
    folds: tuple[str, ...]
    n_groups: int | None  # recordings or speakers; None if the data set names none
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]  # of clips that are both trained on and scored on
    unreadable: tuple[str, ...]  # runs and submissions that could not be read, and why
    blends: tuple[Blended, ...]  # the newest first
    evaluations: tuple[Evaluation, ...]
    mistakes: Mistakes | None  # of the first that is evaluated
    trainings: tuple[TrainingCurves, ...]
    correlation: Correlation | None
    akit: str
    created: str  # when
