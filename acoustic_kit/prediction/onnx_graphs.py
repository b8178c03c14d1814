"""Exported graphs that predict clips instead of torch: a file, or one for each member, exported once and cached."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acoustic_kit.caches import user_cache
from acoustic_kit.data.windows import Windows
from acoustic_kit.device import Compute
from acoustic_kit.dsp.decoding import Decoding
from acoustic_kit.errors import RunError, UsageError
from acoustic_kit.features import with_sources
from acoustic_kit.files import file_sha256
from acoustic_kit.prediction.models import MemberModel, Predictor
from acoustic_kit.prediction.new_clips import NewClip
from acoustic_kit.prediction.rows import file_seconds
from acoustic_kit.prediction.slices import SlicePredictions, predictor_digest
from acoustic_kit.prediction.waves import WaveReader, Waves
from acoustic_kit.task import TaskSpec

if TYPE_CHECKING:
    from acoustic_kit.prediction.export import OnnxModel

CHUNK = 32  # clips that are decoded and predicted at once
CACHED = 16  # graphs that are kept
STEP = 0.5  # s, to which the length of the longest clip is rounded up, so that similar clips share a graph
MOST_SECONDS = 600  # of a clip: a graph computes each clip at the length of the longest

OnNote = Callable[[str], None]
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Graph:
    """An exported model, and what it needs of a clip."""

    model: OnnxModel
    decodings: dict[int, Decoding]  # sample rate → how a clip is decoded
    frequencies: np.ndarray  # float64 (classes,): the prediction for a clip that cannot be read

    def __post_init__(self) -> None:
        if self.model.n_side:
            raise UsageError(f"{self.model.path} needs more inputs than sound; predict by its run with --engine torch.")

    def predict(self, waves: Waves) -> np.ndarray:
        """Return class probabilities of clips: float64 (clips, classes)."""
        found = np.tile(self.frequencies, (len(waves.clips), 1))
        if waves.sounds:
            inputs = {
                one.sample_rate: [of[self.decodings[one.sample_rate]].samples[: one.samples] for of in waves.sounds]
                for one in self.model.waves
            }
            read = [i for i in range(len(waves.clips)) if i not in waves.errors]
            found[read] = self.model.predict(inputs)
            if self.model.task == "single":
                found[read] /= found[read].sum(axis=1, keepdims=True)
        return found


@dataclass
class OnnxGraphs:
    """The graphs of a predictor's members, in order."""

    graphs: tuple[Graph, ...]
    digest: str  # of what they predict, besides the predictor
    seconds: list[float] = field(default_factory=lambda: [0.0])  # spent so far: waiting for waves, then by each graph

    def predict(
        self, clips: Sequence[NewClip], on_clips: Callable[[int, int], None] = lambda *_: None, at_once: int = CHUNK
    ) -> SlicePredictions:
        """Predict clips, decoded ahead of the predictions: float64 (graphs, clips, classes), and errors by id.

        - `on_clips`: called with the position of a graph and the number of clips after each part
        - `at_once`: clips that are decoded and predicted at once
        """
        decodings = {decoding for graph in self.graphs for decoding in graph.decodings.values()}
        parts, errors = list[np.ndarray](), dict[str, str]()
        self.seconds = [0.0] * (1 + len(self.graphs))
        with WaveReader(decodings) as reader:
            began = time.perf_counter()
            for waves in reader.chunks(clips, at_once):
                began = self._count(0, began)
                errors |= {waves.clips[i].id: why for i, why in waves.errors.items()}
                found = []
                for number, graph in enumerate(self.graphs):
                    found.append(graph.predict(waves))
                    on_clips(number, len(waves.clips))
                    began = self._count(1 + number, began)
                parts.append(np.stack(found))
        return SlicePredictions(np.concatenate(parts, axis=1), errors)

    def of(self, members: Sequence[int]) -> OnnxGraphs:
        """Return the graphs of some members, by position."""
        return OnnxGraphs(tuple(self.graphs[member] for member in members), self.digest)

    def _count(self, part: int, began: float) -> float:
        now = time.perf_counter()
        self.seconds[part] += now - began
        return now


def graphs_of(
    predictor: Predictor,
    clips: Sequence[NewClip],
    on_note: OnNote = lambda _: None,
    on_progress: OnProgress = lambda *_: None,
) -> OnnxGraphs:
    """Return the graphs of a predictor's members for clips of some length, exported unless they are cached.

    Raises UsageError if a member cannot be exported, with the reason, or for clips that are too long.
    """
    from acoustic_kit.prediction.export import OnnxModel

    seconds, graphs = _longest(clips), []
    for number, member in enumerate(predictor.members):
        on_progress("export", number, len(predictor.members))
        alone = replace(predictor, name=member.run.name, members=(member,), blend=None)
        path = _exported(alone, seconds, on_note)
        graphs.append(Graph(OnnxModel.open(path), _decodings(member), member.mean_frequencies))
    on_progress("export", len(predictor.members), len(predictor.members))
    return OnnxGraphs(tuple(graphs), f"onnx {seconds:g}")


def open_file(path: Path) -> tuple[Predictor, OnnxGraphs]:
    """Open a file that `akit export` wrote. Raises RunError if it is not one."""
    from acoustic_kit.prediction.export import OnnxModel

    model = OnnxModel.open(path)
    about = model.session.get_modelmeta().custom_metadata_map
    try:
        indices = json.loads(about.get("class_indices", "null")) or range(len(model.classes))
        separator = json.loads(about.get("label_separator", "null"))
        windows = json.loads(about.get("windows", "null"))
        mono = json.loads(about.get("mono", "{}"))
        classes = dict(zip(model.classes, indices, strict=True))
        frequencies = np.array(json.loads(about.get("frequencies", "null")) or [1 / len(classes)] * len(classes))
        decodings = {one.sample_rate: Decoding(one.sample_rate, mono.get(one.name, "mean")) for one in model.waves}
        spec = TaskSpec(classes, about["metric"], model.task, separator)
        remembered = None if windows is None else Windows.model_validate(windows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} has damaged metadata: {error!r}. Export it again.") from error
    predictor = Predictor(path.stem, (), spec, None, file_windows=remembered)
    return predictor, OnnxGraphs((Graph(model, decodings, frequencies),), f"onnx {file_sha256(path)}")


def _longest(clips: Sequence[NewClip]) -> float:
    """Return the length of the longest clip in seconds, that of whole files rounded up. Raises UsageError."""
    spans = [clip.end - clip.start for clip in clips if clip.start is not None and clip.end is not None]
    lengths = file_seconds({clip.file: clip.path for clip in clips if clip.start is None})
    file, longest = max(lengths.items(), key=lambda item: item[1], default=("", 0.0))
    seconds = max([round(max(spans, default=0.0), 6), math.ceil(longest / STEP) * STEP])
    if seconds > MOST_SECONDS:
        raise UsageError(f"{file} has {seconds:.0f} s; a graph takes {MOST_SECONDS} s at most. Add --window.")
    return seconds or STEP


def _decodings(member: MemberModel) -> dict[int, Decoding]:
    features = [feature for fold in member.folds for feature in member.features_of(fold).values()]
    return {f.decoding.sample_rate or 0: f.decoding for f in with_sources(features) if f.source is None}


def _exported(predictor: Predictor, seconds: float, on_note: OnNote) -> Path:
    """Return the graph of a predictor, from the user's cache folder if it was exported before."""
    from importlib.metadata import version

    from acoustic_kit.prediction.export import export_model

    key = f"{predictor_digest(predictor, Compute('cpu', '32'))} {seconds:g} {version('torch')}"
    folder = user_cache("onnx")
    path = folder / f"{predictor.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.onnx"
    if path.is_file():
        with suppress(OSError):
            os.utime(path)
        return path
    on_note(f"Exporting {predictor.name} to {path}, once.")
    export_model(predictor, path, seconds=seconds, on_note=on_note)
    by_use = sorted(folder.glob("*.onnx"), key=lambda found: found.stat().st_mtime)
    for old in by_use[:-CACHED]:
        old.unlink(missing_ok=True)
    return path
