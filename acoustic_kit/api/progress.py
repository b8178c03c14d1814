"""Progress bars and messages on stderr, in a terminal or in Jupyter."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from acoustic_kit.tables import duration

if TYPE_CHECKING:
    from acoustic_kit.features import BuildReport
    from acoustic_kit.recipe.job import RunEvents
    from acoustic_kit.runs.tuning import TuneEvents

SWITCH = "AKIT_PROGRESS"  # the environment variable; 0, no, off or false switches progress bars off

# File names and labels may hold anything: escaped, they neither break a table nor control the terminal.
ESCAPED = {code: ascii(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
_BUT_LINES = {code: text for code, text in ESCAPED.items() if code != ord("\n")}


class OnProgress(Protocol):
    """Draws the progress of something: its name, how much is done, of how much, and a remark."""

    def __call__(self, what: str, done: int, total: int, remark: str = "") -> None:
        """Update the bar of `what`, which is made at the first call."""


def escape_controls(text: str) -> str:
    """Return text of several lines with its control codes escaped."""
    return text.translate(_BUT_LINES)


def say(text: str) -> None:
    """Print a message for the user on stderr: stdout is for results."""
    print(escape_controls(text), file=sys.stderr, flush=True)


def is_switched_on(wanted: bool = True) -> bool:
    """Return whether progress is shown: if it is wanted and the environment variable AKIT_PROGRESS is not 0."""
    return wanted and os.environ.get(SWITCH, "1").strip().lower() not in {"0", "no", "off", "false"}


@contextmanager
def progress(wanted: bool = True) -> Iterator[OnProgress]:
    """Yield a function `(what, done, total)` that draws one bar for each `what`, with rate and time left, on stderr.

    It draws nothing if progress is not `wanted` or switched off, see `is_switched_on`.
    """
    if not is_switched_on(wanted):
        yield _draw_nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    bars: dict[str, TaskID] = {}
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30 if console.width >= 100 else 10),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[remark]}", markup=False),
    )
    bar = Progress(*columns, console=console)

    def update(what: str, done: int, total: int, remark: str = "") -> None:
        if not bars:
            bar.start()  # not before: a bar of nothing is an empty line
        remark = remark.translate(ESCAPED)
        if what not in bars:
            bars[what] = bar.add_task(what.translate(ESCAPED), total=total, rate="", remark="")
        task = bar.tasks[bar.task_ids.index(bars[what])]
        speed = task.finished_speed or task.speed
        bar.update(bars[what], completed=done, total=total, rate=_rate(speed), remark=remark)

    try:
        yield update
    finally:
        if bars:
            bar.stop()


def _draw_nothing(what: str, done: int, total: int, remark: str = "") -> None:
    pass


def _rate(per_second: float | None) -> str:
    if not per_second:
        return ""
    return f"{per_second:.0f}/s" if per_second >= 1 else f"{1 / per_second:.1f} s each"


def say_failures(reports: Sequence[BuildReport], limit: int = 10) -> None:
    """Name the clips that could not be computed, each once, with the reason, and those that count as silence."""
    silenced = list(dict.fromkeys(id for report in reports for id in report.silenced))
    if silenced:
        named = ", ".join(silenced[:limit]) + (f" and {len(silenced) - limit} more" if len(silenced) > limit else "")
        say(f"{len(silenced)} clips could not be decoded and count as one second of silence: {named}")
    failures = {id: reason for report in reports for id, reason in report.failures.items()}
    retried = {id: how for report in reports for id, how in report.retried.items() if id not in failures}
    for id, how in retried.items():
        say(f"A worker process {how}, on the clip {id}; the second attempt succeeded.")
    if failures:
        say(f"{len(failures)} clips could not be computed:")
        for id, reason in list(failures.items())[:limit]:
            say(f"  {id}: {reason}")
        if len(failures) > limit:
            say(f"  … and {len(failures) - limit} more: `akit features info {next(iter(reports)).feature.name}`")


def _say_start(compute: str) -> None:
    say(f"Training on {compute}.")


def run_events(bar: OnProgress, *, parallel: bool = False) -> RunEvents:
    """Return events of a run that draw bars; if folds are trained `parallel`, without an estimate of the time."""
    from acoustic_kit.recipe.job import RunEvents

    began = time.monotonic()
    folds_to_do = 1

    def on_fold(done: int, total: int) -> None:
        nonlocal began, folds_to_do
        began, folds_to_do = time.monotonic(), total - done
        bar("folds", done, total)

    def on_epoch(fold: str, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if done == 1 and not parallel:
            expected = (time.monotonic() - began) * total * folds_to_do
            folds = "the fold" if folds_to_do == 1 else f"the {folds_to_do} folds"
            say(f"Stage {stage} takes about {duration(expected)} for {folds} to train.")
        bar(f"fold {fold}, {stage}", done, total, _in_short(figures))

    return RunEvents(
        on_start=_say_start,
        on_build=lambda feature, done, total: bar(feature.name, done, total),
        on_built=say_failures,
        on_fold=on_fold,
        on_epoch=on_epoch,
        on_label=lambda fold, done, total: bar(f"fold {fold}, pseudo-labels", done, total),
    )


def _in_short(figures: Mapping[str, float]) -> str:
    """Return the losses, training before validation, and the metric of an epoch, short enough for 80 columns."""
    losses = [f"{figures[name]:.3f}" for name in ("train_loss", "valid_loss") if name in figures]
    metrics = {name: value for name, value in figures.items() if name.startswith("valid_") and name != "valid_loss"}
    if len(metrics) > 1:
        metrics.pop("valid_accuracy", None)  # logged beside the metric
    scores = [f"{name.removeprefix('valid_')} {value:.3f}" for name, value in metrics.items()]
    return "  ".join([f"loss {' / '.join(losses)}", *scores])


def tune_events(bar: OnProgress) -> TuneEvents:
    """Return events of a search that draw bars and print why a trial failed."""
    from acoustic_kit.runs.tuning import TuneEvents

    trials, best = (0, 1), ""

    def on_trial(done: int, total: int, score: float | None) -> None:
        nonlocal trials, best
        trials, best = (done, total), "" if score is None else f"best {score:.4f}"
        bar("trials", *trials, best)

    def on_fold(done: int, total: int) -> None:
        bar("trials", *trials, f"{best}  folds {done}/{total}".strip())

    def on_epoch(fold: str, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        bar("trials", *trials, f"{best}  fold {fold}, {stage}, epoch {done} of {total}".strip())

    return TuneEvents(
        on_start=_say_start,
        on_build=lambda feature, done, total: bar(feature.name, done, total),
        on_built=say_failures,
        on_fold=on_fold,
        on_epoch=on_epoch,
        on_trial=on_trial,
        on_failure=lambda number, reason: say(f"Trial {number} failed: {reason}"),
    )


def megabytes(bar: OnProgress) -> Callable[[str, int, int], None]:
    """Return a function that is called with bytes and draws megabytes."""
    return lambda what, done, total: bar(f"{what}, MB", done // 1_000_000, max(1, total // 1_000_000))
