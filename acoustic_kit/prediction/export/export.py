"""A run or a blend as an ONNX file: waves → probabilities and embedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from acoustic_kit.errors import RunError, UsageError
from acoustic_kit.features.embed.onnx_model import import_extra
from acoustic_kit.files import replacing
from acoustic_kit.prediction.export.int8 import calibration_clips, to_int8
from acoustic_kit.prediction.export.onnx_engine import OnnxModel
from acoustic_kit.prediction.export.onnx_file import write_graph
from acoustic_kit.prediction.export.plan import Plan, reasons
from acoustic_kit.prediction.models import Predictor
from acoustic_kit.prediction.new_clips import NewClip
from acoustic_kit.workspace.workspace import Workspace

OUTPUTS = ("probabilities", "embedding")
TOLERANCE = 1e-4  # of a probability, from torch's

OnNote = Callable[[str], None]
OnProgress = Callable[[str, int, int], None]


def export_model(
    predictor: Predictor,
    out: Path,
    *,
    seconds: float | None = None,
    separate: bool = False,
    int8: bool = False,
    on_note: OnNote = lambda _: None,
    on_progress: OnProgress = lambda *_: None,
) -> list[Path]:
    """Write a run or a blend as ONNX, front end included, and compare its predictions with torch's.

    The inputs are `wave`, float32 (clips, samples): decoded, mono, at the run's sample rate, zeros after the end of
    shorter clips; `length`, int64 (clips,), the samples of each clip, by default all; and `side`, float32 (clips,
    columns), if a network reads more than sound. With several sample rates, their names end with the rate. The outputs
    are `probabilities`, float32 (clips, classes), and `embedding`, float32 (clips, d): the input of the last linear
    layer of each fold's network, averaged over crops, one after another.

    Parameters
    ----------
    seconds : the longest clip; default: the length of windows, or of the longest clip of the workspace
    separate : write a file for each fold model: `out` with the names of run and fold
    int8 : compute networks with 8-bit integers, calibrated on training clips of the workspace
    on_note : called with messages for the user
    on_progress : called with a name, the steps done and in all

    Returns the files.

    Raises
    ------
    UsageError : the run cannot be exported, with the reason; or `out` or `seconds` is not usable
    AkitError : a library is missing, or the file cannot be written
    RunError : the file predicts other probabilities than torch

    """
    if out.is_dir() or out.suffix != ".onnx":
        raise UsageError(f"{out} {'is a folder' if out.is_dir() else 'does not end in .onnx'}; name a file: {out}.onnx")
    for library in ("onnx", "onnxscript", "onnxruntime"):
        import_extra(library)
    seconds = _seconds(predictor) if seconds is None else seconds
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--seconds is {seconds}; it must be positive")
    clips = calibration_clips(predictor) if int8 else None
    jobs = {out: predictor}
    if separate:
        parts = [(member, fold) for member in predictor.members for fold in member.folds]
        jobs = {
            out.with_name(f"{out.stem}_{member.run.name}_{fold}.onnx"): replace(
                predictor, members=(replace(member, folds=(fold,)),), blend=None
            )
            for member, fold in parts
        }
    for number, (path, part) in enumerate(jobs.items()):
        _export_one(part, path, seconds, clips, on_note, _part_of(on_progress, number, len(jobs)))
    return list(jobs)


def require_equal(plan: Plan, found: np.ndarray) -> None:
    """Raise RunError unless probabilities of the plan's noise, float (clips, classes), are torch's."""
    difference = plan.difference(found)
    if not difference <= TOLERANCE:
        raise RunError(f"{plan.predictor.name}: the graph's probabilities differ from torch's by {difference:.2g}.")


def _part_of(on_progress: OnProgress, number: int, n_parts: int) -> OnProgress:
    return lambda what, done, total: on_progress(what, number * total + done, n_parts * total)


def _seconds(predictor: Predictor) -> float:
    """Return the length of windows, or of the longest clip of the workspace of a run. Raises UsageError."""
    import polars as pl

    if predictor.windows is not None:
        return predictor.windows.length
    for member in predictor.members:
        if workspace := Workspace.around(member.run.path):
            longest = workspace.manifest.filter(pl.col("split") != "extra")["duration"].max()
            if isinstance(longest, float):
                return longest
    raise UsageError(f"{predictor.name} is in no workspace that says how long its clips are: add --seconds")


def _export_one(
    predictor: Predictor,
    out: Path,
    seconds: float,
    clips: tuple[list[NewClip], list[NewClip]] | None,
    on_note: OnNote,
    on_progress: OnProgress,
) -> None:
    steps = predictor.n_models + 2  # a prediction by each model, the export, the comparison
    with Plan.of(predictor, seconds, lambda done: on_progress("export", done, steps)) as plan:
        graph = plan.graph()
        with replacing(out, follow=True) as temporary, reasons(predictor.name):
            front_end = write_graph(graph, plan.inputs, OUTPUTS, temporary, plan.metadata())
            on_progress("export", steps - 1, steps)
            require_equal(plan, OnnxModel.open(temporary).predict(plan.probe.decoded, plan.side))
            if clips is not None:
                on_note(to_int8(temporary, front_end, clips, plan.decodings))
    on_progress("export", steps, steps)
    for note in plan.notes():
        on_note(note)
