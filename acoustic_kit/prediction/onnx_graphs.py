"""Exported graphs that predict clips instead of torch: a file, or one for each member, exported once and cached."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acoustic_kit.caches import user_cache
from acoustic_kit.data.windows import Windows
from acoustic_kit.device import Compute
from acoustic_kit.dsp.decoding import Decoding
from acoustic_kit.errors import RunError, UsageError
from acoustic_kit.files import file_sha256
from acoustic_kit.prediction.models import Predictor
from acoustic_kit.prediction.new_clips import NewClip
from acoustic_kit.prediction.rows import file_seconds
from acoustic_kit.prediction.slices import SlicePredictions, predictor_digest
from acoustic_kit.prediction.waves import WaveReader, Waves
from acoustic_kit.task import TaskSpec

if TYPE_CHECKING:
    from acoustic_kit.prediction.export import NetworkGraph, OnnxModel

CHUNK = 32  # clips that are decoded and predicted at once
CHUNK_SECONDS = 1920  # of sound, at most; 250 MB at 32 kHz
CACHED = 16  # graphs that are kept
STEP = 0.5  # s, to which the length of the longest clip is rounded up, so that similar clips share a graph
MOST_SECONDS = 600  # of a clip: networks compute each clip at the length of the longest

OnNote = Callable[[str], None]
OnProgress = Callable[[str, int, int], None]


@dataclass
class ExportedFile:
    """A file that `akit export` wrote; it reads waves."""

    model: OnnxModel
    decodings: Mapping[int, Decoding]  # sample rate → how a clip is decoded
    frequencies: np.ndarray  # float64 (classes,): the prediction for a clip that cannot be read
    digest: str  # of the file
    seconds: tuple[float, float] = (0.0, 0.0)  # that the last prediction waited for waves, and computed

    def __post_init__(self) -> None:
        if self.model.n_side:
            raise UsageError(f"{self.model.path} needs more inputs than sound; predict by its run with --engine torch.")

    def predict(
        self, clips: Sequence[NewClip], on_clips: Callable[[int], None] = lambda _: None, at_once: int | None = None
    ) -> SlicePredictions:
        """Predict clips, decoded ahead of the predictions: float64 (1, clips, classes), and errors by id.

        - `on_clips`: called with the number of clips after each part
        - `at_once`: clips that are decoded and predicted at once
        """
        longest = max(one.samples / one.sample_rate for one in self.model.waves)
        at_once = at_once or max(1, min(CHUNK, int(CHUNK_SECONDS / longest)))
        parts, errors, waited, computed = list[np.ndarray](), dict[str, str](), 0.0, 0.0
        began = time.perf_counter()
        with WaveReader(set(self.decodings.values())) as reader:
            for waves in reader.chunks(clips, at_once):
                waited += (read := time.perf_counter()) - began
                errors |= {waves.clips[i].id: why for i, why in waves.errors.items()}
                parts.append(self._predict(waves))
                computed += (began := time.perf_counter()) - read
                on_clips(len(waves.clips))
        self.seconds = waited, computed
        return SlicePredictions(np.concatenate(parts)[None], errors)

    def _predict(self, waves: Waves) -> np.ndarray:
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


@dataclass(frozen=True)
class ExportedNetworks:
    """The networks of a predictor's members, in order, as graphs; None for a member that has none, as statistics."""

    graphs: tuple[NetworkGraph | None, ...]
    digest: str  # of what they predict, besides the predictor

    def of(self, members: Sequence[int]) -> ExportedNetworks:
        """Return the networks of some members, by position."""
        return replace(self, graphs=tuple(self.graphs[member] for member in members))


def networks_of(
    predictor: Predictor,
    clips: Sequence[NewClip],
    on_note: OnNote = lambda _: None,
    on_progress: OnProgress = lambda *_: None,
) -> ExportedNetworks:
    """Return the networks of a predictor's members for clips of some length, exported unless they are cached.

    Raises UsageError if no member can be exported, with the reason, or for clips that are too long.
    """
    from acoustic_kit.prediction.export import NetworkGraph

    seconds, graphs = _longest(clips), list[NetworkGraph | None]()
    for number, member in enumerate(predictor.members):
        on_progress("export", number, len(predictor.members))
        alone = replace(predictor, name=member.run.name, members=(member,), blend=None)
        try:
            graphs.append(NetworkGraph.open(_exported(alone, seconds, on_note)))
        except UsageError as error:
            if not any(graphs) and number == len(predictor.members) - 1:
                raise
            on_note(f"{error}. It predicts as with --engine torch.")
            graphs.append(None)
    on_progress("export", len(predictor.members), len(predictor.members))
    return ExportedNetworks(tuple(graphs), f"onnx {seconds:g}")


def open_file(path: Path) -> tuple[Predictor, ExportedFile]:
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
    return predictor, ExportedFile(model, decodings, frequencies, f"onnx {file_sha256(path)}")


def _longest(clips: Sequence[NewClip]) -> float:
    """Return the length of the longest clip in seconds, that of whole files rounded up. Raises UsageError."""
    spans = [clip.end - clip.start for clip in clips if clip.start is not None and clip.end is not None]
    lengths = file_seconds({clip.file: clip.path for clip in clips if clip.start is None})
    file, longest = max(lengths.items(), key=lambda item: item[1], default=("", 0.0))
    seconds = max([round(max(spans, default=0.0), 6), math.ceil(longest / STEP) * STEP])
    if seconds > MOST_SECONDS:
        raise UsageError(f"{file} has {seconds:.0f} s; a graph takes {MOST_SECONDS} s at most. Add --window.")
    return seconds or STEP


def _exported(predictor: Predictor, seconds: float, on_note: OnNote) -> Path:
    """Return the graph of a run's networks, from the user's cache folder if it was exported before."""
    from importlib.metadata import version

    from acoustic_kit.prediction.export import export_networks

    key = f"{predictor_digest(predictor, Compute('cpu', '32'))} {seconds:g} {version('torch')}"
    folder = user_cache("onnx")
    path = folder / f"{predictor.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.networks.onnx"
    if path.is_file():
        with suppress(OSError):
            os.utime(path)
        return path
    export_networks(predictor, seconds, path)
    on_note(f"Exported {predictor.name} to {path}, where the next prediction finds it.")
    by_use = sorted(folder.glob("*.onnx"), key=lambda found: found.stat().st_mtime)
    for old in by_use[:-CACHED]:
        old.unlink(missing_ok=True)
    return path
