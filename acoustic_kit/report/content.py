"""What a report shows, as one tree of plain values: `build.py` makes it from a workspace, `page.py` draws it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    """A row of the leaderboard: a run, or the seeds of one setting."""

    rank: int | None  # None if its score is of other clips than the first row's, or missing
    names: tuple[str, ...]  # of the runs, best first
    score: float | None  # the mean over seeds; None without out-of-fold predictions
    interval: tuple[float, float] | None  # 95 %, bootstrap over groups
    spread: float | None  # the standard deviation over folds
    folds: str  # those that are done, `4/5`; of imported predictions of some clips, `39/320 clips`
    seconds: float  # wall time, the mean over seeds
    marks: tuple[str, ...]  # such as "fast" or "optimistic"
    settings: tuple[str, ...]  # what differs from the recipe's defaults
    notes: tuple[str, ...]  # the user's, and what there is to know


@dataclass(frozen=True)
class Line:
    """One line of a chart, from left to right; not a number where it is broken."""

    name: str
    x: np.ndarray  # float (points,)
    y: np.ndarray  # float (points,)
    bold: bool = False


@dataclass(frozen=True)
class Curve:
    """How one figure of a training stage went over the epochs."""

    figure: str  # "loss", or a metric
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class TrainingCurves:
    """The learning curves of one stage of a run."""

    run: str
    stage: str
    folds: int
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Confusion:
    """Which class was taken for which."""

    classes: tuple[str, ...]
    counts: np.ndarray  # int (classes, classes): row true, column predicted
    n_classes: int  # of the data set; more than are shown where the matrix would not be readable
    pairs: tuple[tuple[str, str, int, float], ...]  # the most frequent mistakes: true, predicted, clips, share of true


@dataclass(frozen=True)
class ClassScores:
    """How well one class is found."""

    name: str
    support: int  # clips that have it
    precision: float | None  # None where nothing was predicted to be of it
    recall: float | None  # None where no clip has it
    f1: float | None
    average_precision: float | None  # of tasks with several labels; None where no clip has it


@dataclass(frozen=True)
class Reliability:
    """How often a prediction of some confidence is right."""

    edges: np.ndarray  # float (bins + 1,)
    counts: np.ndarray  # int (bins,): predictions in each
    confidence: np.ndarray  # float (bins,): their mean probability; NaN in an empty bin
    accuracy: np.ndarray  # float (bins,): the share that was right
    ece: float  # expected calibration error: |accuracy - confidence|, averaged over the predictions
    what: str  # "the first label", or "every class of every clip"


@dataclass(frozen=True)
class Evaluation:
    """How one run, or one blend, does on its out-of-fold predictions."""

    name: str
    kind: str  # "run" or "blend"
    score: float
    n_clips: int
    caveats: tuple[str, ...]  # why the score flatters, or is of some clips only
    confusion: Confusion | None  # None where clips have several labels
    classes: tuple[ClassScores, ...]
    reliability: Reliability


@dataclass(frozen=True)
class Correlation:
    """How alike the errors of runs are."""

    names: tuple[str, ...]
    values: np.ndarray  # float (runs, runs), NaN where a run errs nowhere
    n_clips: int
    left_out: int  # runs that predicted other clips, or that there was no room for


@dataclass(frozen=True)
class Weight:
    """One run's share of a blend."""

    name: str
    share: float
    score: float | None  # the run's own, if the blend's metric is the report's


@dataclass(frozen=True)
class Blended:
    """A submission that was blended."""

    name: str
    method: str
    metric: str
    created: str
    runs: int
    out_of_fold: float | None
    nested: float | None  # what to believe
    interval: tuple[float, float] | None
    best_run: tuple[str, float] | None
    mean_of_all: float | None
    gain: tuple[float, float, float] | None  # over the best single run, nested, with its 95 % interval
    public: float | None  # on the competition's leaderboard
    note: str
    weights: tuple[Weight, ...]  # the largest first


@dataclass(frozen=True)
class AudioPreview:
    """A clip to hear and to see."""

    audio: str  # data URI, FLAC
    seconds: float  # that can be heard
    cut: bool  # the clip goes on
    peaks: np.ndarray  # float32 (2, columns): the lowest and the highest sample of each stretch, full scale ±1
    spectrogram: str  # data URI, PNG: mel bands upwards, time to the right
    top: float  # Hz, the spectrogram's upper edge


@dataclass(frozen=True)
class Mistake:
    """A clip that was predicted wrongly and confidently."""

    id: str
    path: str
    true: tuple[str, ...]
    predicted: tuple[tuple[str, float], ...]  # classes and their probability, best first
    wrong: str  # the class that is wrong: predicted and not true, or, of several labels, missed
    probability: float  # that the prediction gives to what is wrong
    wrong_runs: int  # that err on this clip too
    scored_runs: int
    sound: AudioPreview | None
    silent_because: str  # why there is no sound


@dataclass(frozen=True)
class Mistakes:
    """The most confident mistakes of a run or a blend."""

    of: str  # its name
    clips: tuple[Mistake, ...]  # the worst first
    n: int  # clips with a wrong decision, in all


@dataclass(frozen=True)
class Report:
    """A report."""

    workspace: str
    metric: str
    task: str
    n_train: int
    n_test: int
    n_extra: int
    classes: tuple[str, ...]
    folds: tuple[str, ...]
    n_groups: int | None  # recordings or speakers; None where the data set names none
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
