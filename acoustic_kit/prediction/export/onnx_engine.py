"""Prediction by an exported ONNX file, on the CPU."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from acoustic_kit.errors import RunError, UsageError
from acoustic_kit.features.embed.onnx_model import import_extra
from acoustic_kit.features.weights import first_line
from acoustic_kit.task import Task

BATCH = 2  # clips that are computed at once; arrays of more leave the caches of a core, and take 10 to 20 % longer


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
    def open(cls, path: Path, threads: int | None = None) -> OnnxModel:
        """Open a file for prediction.

        - `threads`: of one prediction; None: one for each core

        Raises RunError if it is not a model that `akit export` wrote, AkitError if onnxruntime is missing.
        """
        runtime = import_extra("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            metadata = session.get_modelmeta().custom_metadata_map
            classes, task = tuple(json.loads(metadata["classes"])), metadata["task"]
            waves = tuple(WaveInput(**one) for one in json.loads(metadata["waves"]))
            n_side = sum(part["columns"] for part in json.loads(metadata["side"]))
        except Exception as error:  # ONNX Runtime raises many kinds of errors
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

    def predict(
        self, waves: Sequence[np.ndarray] | Mapping[int, Sequence[np.ndarray]], side: np.ndarray | None = None
    ) -> np.ndarray:
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
        found = [self.session.run(["probabilities"], inputs)[0] for inputs in self.batches(by_rate, side)]
        return np.concatenate([np.empty((0, len(self.classes))), *found])

    def batches(
        self, waves: Mapping[int, Sequence[np.ndarray]], side: np.ndarray | None, size: int = BATCH
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield the inputs of `size` clips after another; the other parameters are those of `predict`."""
        for start in range(0, len(waves[self.waves[0].sample_rate]), size):
            part = slice(start, start + size)
            inputs: dict[str, np.ndarray] = {}
            for one in self.waves:
                inputs |= self._inputs(one, waves[one.sample_rate][part])
            if self.n_side and side is not None:
                inputs["side"] = side[part].astype(np.float32)
            yield inputs

    def _inputs(self, one: WaveInput, waves: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        lengths = np.array([len(wave) for wave in waves], np.int64)
        if wrong := [int(n) for n in lengths if not 1 <= n <= one.samples]:
            raise UsageError(f"{self.path} takes clips of 1 to {one.samples} samples; one has {wrong[0]}")
        batch = np.zeros((len(waves), one.samples), np.float32)
        for row, wave in zip(batch, waves, strict=True):
            row[: len(wave)] = wave
        return {one.name: batch, one.length: lengths}
