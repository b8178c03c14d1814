"""Prediction by an exported ONNX file, on the CPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from acoustic_kit.errors import RunError, UsageError
from acoustic_kit.features.embed.onnx_model import import_extra
from acoustic_kit.features.weights import first_line
from acoustic_kit.task import Task

T = TypeVar("T")
Waves = Mapping[int, Sequence[np.ndarray]]  # Hz → float32 (n,) of each clip


class WaveInput(NamedTuple):
    """An input of waves."""

    name: str
    length: str  # name of the input with the samples of each clip
    sample_rate: int  # Hz
    samples: int


@dataclass(frozen=True)
class OnnxModel:
    """A run or a blend that `akit export` wrote.

    >>> OnnxModel.open(Path("model.onnx")).predict(waves)  # float64 (clips, classes)
    """

    path: Path
    classes: tuple[str, ...]
    task: Task
    waves: tuple[WaveInput, ...]  # one for each sample rate
    n_side: int  # columns of the side input; 0 if there is none
    session: Any  # onnxruntime.InferenceSession

    @classmethod
    def open(cls, path: Path) -> OnnxModel:
        """Open a file for prediction.

        Raises RunError if it is not a model that `akit export` wrote, AkitError if onnxruntime is missing.
        """
        session = open_session(path)
        try:
            metadata = session.get_modelmeta().custom_metadata_map
            classes, task = tuple(json.loads(metadata["classes"])), metadata["task"]
            waves = tuple(WaveInput(**one) for one in json.loads(metadata["waves"]))
            n_side = sum(part["columns"] for part in json.loads(metadata["side"]))
        except (KeyError, ValueError, TypeError) as error:
            raise RunError(f"{path} is not a model that akit exported: {first_line(error)}") from error
        return cls(path, classes, "multi" if task == "multi" else "single", waves, n_side, session)

    @property
    def signature(self) -> str:
        """The inputs and outputs: `wave (clips, 110250) at 22050 Hz → probabilities (clips, 10), …`."""
        rates = {wave.name: f" at {wave.sample_rate} Hz" for wave in self.waves}
        inputs, outputs = (
            ", ".join(f"{one.name} ({', '.join(map(str, one.shape))}){rates.get(one.name, '')}" for one in found)
            for found in (self.session.get_inputs(), self.session.get_outputs())
        )
        return f"{inputs} → {outputs}"

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waves, in Hz. Raises RunError if it takes waves at several rates."""
        if len(self.waves) > 1:
            rates = ", ".join(str(wave.sample_rate) for wave in self.waves)
            raise RunError(f"{self.path} takes waves at several sample rates: {rates} Hz")
        return self.waves[0].sample_rate

    @property
    def samples(self) -> int:
        """The most samples of a clip at `sample_rate`."""
        return self.waves[0].samples

    def predict(self, waves: Sequence[np.ndarray] | Waves, side: np.ndarray | None = None) -> np.ndarray:
        """Return class probabilities: float64 (clips, classes).

        Parameters
        ----------
        waves : float32 (n,) for each clip, at `sample_rate`, 1 ≤ n ≤ `samples`; or by sample rate, if there are several
        side : float (clips, columns), if there is a side input

        Raises UsageError for waves of another length or number, or another side input, than the model takes.

        """
        by_rate = waves if isinstance(waves, Mapping) else {self.sample_rate: waves}
        n_clips = len(next(iter(by_rate.values())))
        if self.n_side and (side is None or side.shape != (n_clips, self.n_side)):
            raise UsageError(f"{self.path} needs a side input of {self.n_side} columns")

        def predict_clip(clip: int) -> np.ndarray:
            found: np.ndarray = self.session.run(["probabilities"], self.inputs(by_rate, side, clip))[0]
            return found

        return np.concatenate([np.empty((0, len(self.classes))), *on_cores(predict_clip, n_clips)])

    def inputs(self, waves: Waves, side: np.ndarray | None, clip: int) -> dict[str, np.ndarray]:
        """Return the inputs of one of the clips that `predict` takes, by position. Raises UsageError as it does."""
        found: dict[str, np.ndarray] = {}
        for one in self.waves:
            wave = waves[one.sample_rate][clip]
            if not 1 <= len(wave) <= one.samples:
                raise UsageError(f"{self.path} takes clips of 1 to {one.samples} samples; one has {len(wave)}")
            found[one.name] = np.pad(wave, (0, one.samples - len(wave))).astype(np.float32)[None]
            found[one.length] = np.array([len(wave)])
        if self.n_side and side is not None:
            found["side"] = side[clip : clip + 1].astype(np.float32)
        return found


def open_session(path: Path) -> Any:
    """Return a session of onnxruntime that computes on one thread.

    Raises RunError if it cannot read the file, AkitError if onnxruntime is missing.
    """
    runtime = import_extra("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = 1  # several wait for each other at every node, spinning
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises many kinds of errors
        raise RunError(f"{path} cannot be read by onnxruntime: {first_line(error)}") from error


def on_cores(call: Callable[[int], T], n: int) -> list[T]:
    """Return the results of `call` for 0 to n - 1, side by side, one on each core: its arrays fit the core's caches."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(call, range(n)))
