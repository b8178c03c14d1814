"""How a run or a blend is exported: its parts as one torch module, and its metadata."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acoustic_kit import __version__
from acoustic_kit.dsp.decoding import Decoding
from acoustic_kit.errors import UsageError
from acoustic_kit.prediction.export.combination import Combination
from acoustic_kit.prediction.export.graph import ExportGraph, FoldNetwork, FoldPlan, FrontEnd, Networks
from acoustic_kit.prediction.export.input_crops import InputCrops
from acoustic_kit.prediction.export.onnx_engine import WaveInput
from acoustic_kit.prediction.export.probe import FoldCall, Probe, root_of
from acoustic_kit.prediction.export.tracing import TRACED
from acoustic_kit.prediction.models import MemberModel, Predictor


@dataclass(frozen=True)
class Plan:
    """The parts of an export.

    Parameters
    ----------
    fronts : key of a feature → its layer
    decodings : sample rate → how files are decoded
    calls : the prediction of each fold's model, by member
    seconds : the longest clip

    """

    predictor: Predictor
    fronts: Mapping[str, FrontEnd]
    decodings: Mapping[int, Decoding]
    probe: Probe
    calls: Sequence[Sequence[FoldCall]]
    seconds: float

    @classmethod
    @contextmanager
    def of(cls, predictor: Predictor, seconds: float, on_model: Callable[[int], None]) -> Iterator[Plan]:
        """Predict noise by each model with torch, and yield the plan that follows from the predictions.

        - `on_model`: called with the number of models that have predicted

        Raises UsageError if a graph cannot compute the prediction of a member, with the reason.
        """
        fronts: dict[str, FrontEnd] = {}
        decodings: dict[int, Decoding] = {}
        for member in predictor.members:
            with reasons(member.run.name):
                for feature in (f for fold in member.folds for f in member.features_of(fold).values()):
                    decoding = root_of(feature).decoding
                    rate = decoding.sample_rate
                    if rate is None or decodings.setdefault(rate, decoding) != decoding:
                        raise UsageError(f"{feature.name} reads the wave in another form than the other features")
                    if feature.key not in fronts:
                        fronts[feature.key] = FrontEnd(feature.torch_layer().eval(), rate)
        if predictor.blend is not None:
            with reasons(predictor.name):
                Combination(predictor.blend)
        done, calls = 0, list[list[FoldCall]]()
        with Probe.of(predictor, sorted({front.rate for front in fronts.values()}), seconds) as probe:
            for member in predictor.members:
                calls.append([])
                for fold in member.folds:
                    with reasons(member.run.name):
                        calls[-1].append(probe.call(member, fold))
                    on_model(done := done + 1)
            yield cls(predictor, fronts, decodings, probe, calls, seconds)

    @property
    def rates(self) -> list[int]:
        """Sample rates of the inputs, Hz."""
        return sorted(self.probe.decoded)

    @property
    def samples(self) -> list[int]:
        """Samples of the inputs, of each sample rate."""
        return [max(map(len, self.probe.decoded[rate])) for rate in self.rates]

    @property
    def sides(self) -> list[np.ndarray | None]:
        """The second input of each member's networks: float32 (clips, columns)."""
        return [folds[0].side for folds in self.calls]

    @property
    def side(self) -> np.ndarray | None:
        """The side input of the noise: float32 (clips, columns); None if there is none."""
        parts = [side for side in self.sides if side is not None]
        return np.concatenate(parts, axis=1) if parts else None

    @property
    def n_side(self) -> int:
        """Columns of the side input; 0 if there is none."""
        return 0 if self.side is None else self.side.shape[1]

    @property
    def inputs(self) -> list[dict[str, Tensor]]:
        """Arguments of the graph from waves to probabilities, by the names of its inputs: waves, lengths and side."""
        waves = dict(zip(_names("wave", self.rates), (torch.zeros(TRACED, n) for n in self.samples), strict=True))
        lengths = dict(zip(_names("length", self.rates), (torch.tensor([n]) for n in self.samples), strict=True))
        return [waves, lengths, {"side": torch.zeros(TRACED, self.n_side)} if self.n_side else {}]

    def graph(self) -> ExportGraph:
        """Return all parts as one module. Raises UsageError as `networks` does."""
        return ExportGraph(self.fronts, self.rates, self.networks())

    def networks(self) -> Networks:
        """Return all but the front ends. Raises UsageError if it cannot compute the inputs, or combine the members."""
        crops: dict[tuple[Any, ...], InputCrops] = {}
        members, first_column = [], 0
        for member, calls, side in zip(self.predictor.members, self.calls, self.sides, strict=True):
            n = 0 if side is None else side.shape[1]
            columns = slice(first_column, first_column + n) if n else None
            first_column += n
            with reasons(member.run.name):
                members.append(
                    [
                        self._fold(member, fold, call, crops, columns)
                        for fold, call in zip(member.folds, calls, strict=True)
                    ]
                )
        combine = None
        if self.predictor.blend is not None:
            with reasons(self.predictor.name):
                combine = Combination(self.predictor.blend)
        return Networks(members, combine)

    def _fold(
        self,
        member: MemberModel,
        fold: str,
        found: FoldCall,
        crops: dict[tuple[Any, ...], InputCrops],
        side: slice | None,
    ) -> FoldPlan:
        batches = found.call.batches
        key = member.features_of(fold)[batches.feature].key
        same = (
            key, batches.frames, batches.pad, batches.short, batches.window, batches.power, batches.crops,
            batches.channel_axis,
        )  # fmt: skip
        if same not in crops:
            crops[same] = InputCrops(batches, self.of_silence(key, 1)[0].shape[-1])
        network = FoldNetwork(found.call.net, found.last, found.call.views, self.predictor.task_spec.task)
        return FoldPlan(network, crops[same], key, side)

    def of_silence(self, key: str, n_clips: int) -> tuple[Tensor, Tensor]:
        """Return a feature of silent clips as long as the longest: (clips, …, frames), and int64 (clips,), frames."""
        front = self.fronts[key]
        n = self.samples[self.rates.index(front.rate)]
        with torch.no_grad():
            values, frames = front.layer(torch.zeros(n_clips, n), torch.full((n_clips,), n))
        return values, frames

    def metadata(self) -> dict[str, Any]:
        """Return what the file says of itself; `sample_rate`, `window` and `output` make it a model of `embed`."""
        record, rates, task = self.predictor.members[0].run.record, self.rates, self.predictor.task_spec
        names = _names("wave", rates), _names("length", rates)
        members = list(zip(self.predictor.members, self.sides, strict=True))
        found: dict[str, Any] = {
            "akit": __version__,
            "name": self.predictor.name,
            "runs": [{"name": m.run.name, "recipe": m.run.record.recipe, "folds": m.folds} for m, _ in members],
            "task": task.task,
            "metric": task.metric,
            "classes": task.names,
            "class_indices": list(task.classes.values()),
            "label_separator": json.dumps(task.label_separator),
            "frequencies": self._frequencies().tolist(),  # for a clip that cannot be read
            "windows": None if record.windows is None else record.windows.model_dump(),
            "waves": [WaveInput(*one)._asdict() for one in zip(*names, rates, self.samples, strict=True)],
            "mono": {name: self.decodings[rate].mono for name, rate in zip(names[0], rates, strict=True)},
            "side": [
                {"run": m.run.name, "columns": side.shape[1], "from": m.recipe.needs(m.settings).columns}
                for m, side in members
                if side is not None
            ],
            "output": "embedding",
        }
        if len(rates) == 1:
            found |= {"sample_rate": str(rates[0]), "window": str(self.samples[0] / rates[0])}
        return found

    def _frequencies(self) -> np.ndarray:
        """Return the prediction for a clip that cannot be read: float64 (classes,)."""
        stack = [member.mean_frequencies[None] for member in self.predictor.members]
        found: np.ndarray = self.predictor.finish(self.predictor.combine(np.stack(stack)), None)[0]
        return found

    def difference(self, found: np.ndarray) -> float:
        """Return the largest difference between probabilities of the noise, (clips, classes), and torch's."""
        stack = np.stack([np.mean([one.call.probabilities for one in folds], axis=0) for folds in self.calls])
        expected = self.predictor.finish(self.predictor.combine(stack), None)
        return float(np.abs(found - expected).max())

    def notes(self) -> list[str]:
        """Return what a user should know of the file."""
        found = []
        for member, folds in zip(self.predictor.members, self.calls, strict=True):
            if folds[0].call.batches.frames is None:
                found.append(
                    f"{member.run.name} reads whole clips: shorter ones are padded to {self.seconds:g} s here, and to "
                    "the longest of a batch in akit predict, which can change their prediction."
                )
        if self.predictor.blend is not None and self.predictor.blend.postprocessing:
            steps = ", ".join(self.predictor.blend.postprocessing)
            found.append(f"The blend's steps over windows of a recording ({steps}) are not part of the graph.")
        return found


def _names(kind: str, rates: Sequence[int]) -> list[str]:
    """Return the names of the inputs of a kind: followed by the sample rate if there are several."""
    return [kind if len(rates) == 1 else f"{kind}_{rate}" for rate in rates]


@contextmanager
def reasons(name: str) -> Iterator[None]:
    """Name the run or the blend in a UsageError that says why it cannot be exported."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{name} cannot be exported: {error}") from error
