"""The networks of a run as an ONNX file that reads features; akit computes these faster than a graph can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from acoustic_kit.data.clips import Clips
from acoustic_kit.errors import UsageError
from acoustic_kit.files import replacing
from acoustic_kit.prediction.export.export import OUTPUTS, require_equal
from acoustic_kit.prediction.export.onnx_engine import on_cores, open_session
from acoustic_kit.prediction.export.onnx_file import write_graph
from acoustic_kit.prediction.export.plan import Plan, reasons
from acoustic_kit.prediction.export.tracing import TRACED
from acoustic_kit.prediction.models import Predictor

VALUES, FRAMES = "values", "frames"  # inputs, after the recipe's name of the feature and a dot


@dataclass(frozen=True)
class NetworkGraph:
    """The networks of a run, from features to probabilities."""

    path: Path
    session: Any  # onnxruntime.InferenceSession
    frames: Mapping[str, int]  # the recipe's name of each feature that the networks read → frames of the longest clip

    @classmethod
    def open(cls, path: Path) -> NetworkGraph:
        """Open a file of `export_networks`. Raises RunError if it cannot be read."""
        session = open_session(path)
        named = {one.name: one.shape for one in session.get_inputs()}
        frames = {name.removesuffix(f".{VALUES}"): shape[-1] for name, shape in named.items() if name.endswith(VALUES)}
        return cls(path, session, frames)

    def predict(self, clips: Clips) -> np.ndarray:
        """Return class probabilities of clips, at least one, with all features: float32 (clips, classes)."""
        ids = clips.ids

        def predict_clip(number: int) -> np.ndarray:
            inputs: dict[str, np.ndarray] = {}
            for name, frames in self.frames.items():
                values = clips.features[name].read(ids[number])[..., :frames]
                missing = [(0, 0)] * values.ndim + [(0, frames - values.shape[-1])]
                inputs[f"{name}.{VALUES}"] = np.pad(values[None], missing)
                inputs[f"{name}.{FRAMES}"] = np.array([values.shape[-1]])
            found: np.ndarray = self.session.run(OUTPUTS[:1], inputs)[0]
            return found

        return np.concatenate(on_cores(predict_clip, len(clips)))


def export_networks(predictor: Predictor, seconds: float, out: Path) -> None:
    """Write the networks of a run, and compare their prediction with torch's.

    Parameters
    ----------
    predictor : a run
    seconds : the longest clip

    Raises UsageError if the run cannot be exported, with the reason; RunError if the file predicts other probabilities.

    """
    with Plan.of(predictor, seconds, lambda _: None) as plan, reasons(predictor.name):
        if plan.n_side:
            raise UsageError("its networks read more than sound; --engine torch predicts with them")
        networks = plan.networks()
        values, frames = dict[str, Tensor](), dict[str, Tensor]()
        (member,) = predictor.members
        names = {feature.key: name for name, feature in member.features_of(member.folds[0]).items()}
        for key in networks.keys:
            values[f"{names[key]}.{VALUES}"], frames[f"{names[key]}.{FRAMES}"] = plan.of_silence(key, TRACED)
        clips = plan.probe.clips(member, member.folds[0])
        with replacing(out) as temporary:
            write_graph(networks, [values, frames], OUTPUTS, temporary)
            require_equal(plan, NetworkGraph.open(temporary).predict(clips))
