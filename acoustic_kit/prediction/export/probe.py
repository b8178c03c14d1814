"""Short sounds, by whose prediction with torch an export is prepared and checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acoustic_kit.data.clips import Clips
from acoustic_kit.device import Compute
from acoustic_kit.dsp.decoding import decode_as
from acoustic_kit.errors import UsageError
from acoustic_kit.features import Feature, build_features
from acoustic_kit.files import temporary_folder
from acoustic_kit.prediction.models import MemberModel, Predictor
from acoustic_kit.prediction.new_clips import NewClip, manifest_rows, stored_clips
from acoustic_kit.training.evaluation import ForwardCall, recorded_calls

if TYPE_CHECKING:
    import polars as pl
    from torch import nn

    from acoustic_store import FeatureStore

FRACTIONS = (1.0, 0.61, 0.3)  # of the longest clip, the lengths of the sounds
SILENCE = 0.1  # fraction of a sound before and after the noise, which trimming cuts off


@dataclass(frozen=True)
class FoldCall:
    """The only call of `forward` in the prediction of a fold's model."""

    call: ForwardCall
    last: nn.Linear | None  # the last linear layer that the network computes, for each input by itself
    side: np.ndarray | None  # float32 (clips, columns), the second input of the network


@dataclass(frozen=True)
class Probe:
    """Noise of several lengths in files, and the features that a predictor reads of it."""

    predictor: Predictor
    rows: pl.DataFrame
    store: FeatureStore
    decoded: Mapping[int, list[np.ndarray]]  # Hz → float32 (n,), the waves that the graph takes

    @classmethod
    @contextmanager
    def of(cls, predictor: Predictor, rates: Sequence[int], seconds: float) -> Iterator[Probe]:
        """Write the sounds, the longest of `seconds`, and compute the features in a temporary folder."""
        import polars as pl
        import soundfile

        from acoustic_store import FeatureStore

        with temporary_folder("akit-export-") as folder:
            files = []
            for number, fraction in enumerate(FRACTIONS):
                path = folder / f"{number}.wav"
                soundfile.write(path, _noise(number, round(fraction * seconds * max(rates))), max(rates), "FLOAT")
                files.append(path)
            columns = sorted({c for m in predictor.members for c in m.recipe.needs(m.settings).columns})
            own = pl.DataFrame({name: [None] * len(files) for name in columns})
            rows = manifest_rows([NewClip(path.name, path, path.name) for path in files], own if columns else None)
            store = FeatureStore.open(folder / "features.zarr", create=True)
            features = {f.key: f for m in predictor.members for fold in m.folds for f in m.features_of(fold).values()}
            for report in build_features(rows, Path("/"), store, list(features.values())):
                assert not report.failures, report.failures
            roots = {root.decoding.sample_rate: root for root in map(root_of, features.values())}
            yield cls(predictor, rows, store, {rate: [_decoded(roots[rate], f) for f in files] for rate in rates})

    def clips(self, member: MemberModel, fold: str) -> Clips:
        """Return the sounds with the features that the model of a fold reads."""
        compute = Compute("cpu", "32")
        return stored_clips(self.rows, self.predictor.task_spec, member.features_of(fold), self.store, compute)

    def call(self, member: MemberModel, fold: str) -> FoldCall:
        """Predict the sounds by the model of a fold. Raises UsageError if a graph cannot compute the prediction."""
        clips = self.clips(member, fold)
        model = member.model(fold, clips.compute)
        with recorded_calls() as calls, _linear_calls(model) as linear:
            found = member.recipe.predict(model, clips, member.settings)
        if not member.recipe.has_network or not calls:
            raise UsageError("its models are not networks that predict by acoustic_kit.forward")
        (first, *others) = calls
        if others or found is not first.probabilities or first.net is not model:
            n = f"{len(calls)} calls" if others else "a call"
            raise UsageError(f"its predict computes more from {n} of acoustic_kit.forward than what one returns")
        if first.key is not None:
            raise UsageError("it predicts crops at random places")
        return FoldCall(first, linear(), _side(first, clips))


def root_of(feature: Feature) -> Feature:
    """Return the feature that is computed from the decoded file."""
    return feature if feature.source is None else root_of(feature.source)


def _noise(seed: int, n: int) -> np.ndarray:
    """Return decaying noise between silent ends: float32 (n,)."""
    silent, rng = math.floor(SILENCE * n), np.random.default_rng(seed)
    loud = n - 2 * silent
    noise = 0.3 * rng.standard_normal(loud).clip(-3, 3) * np.exp(-4 * np.arange(loud) / max(1, loud))
    return np.pad(noise, silent).astype(np.float32)


def _decoded(root: Feature, path: Path) -> np.ndarray:
    """Return the wave of a file at the sample rate of a feature."""
    return decode_as(path, [root.decoding])[root.decoding].samples


def _side(call: ForwardCall, clips: Clips) -> np.ndarray | None:
    """Return the second input of the network. Raises UsageError if it is computed from features."""
    if call.batches.side is None:
        return None
    try:
        return np.asarray(call.batches.side(replace(clips, features={})), np.float32)
    except KeyError as error:
        raise UsageError(f"the second input of its network is computed from the feature {error.args[0]}") from None


@contextmanager
def _linear_calls(net: object) -> Iterator[Callable[[], nn.Linear | None]]:
    """Yield a function that returns the last linear layer whose inputs were as many as the outputs of the network."""
    from torch import nn

    called: list[tuple[nn.Linear, int]] = []
    n_outputs: list[int] = []

    def found() -> nn.Linear | None:
        return next((layer for layer, n in reversed(called) if n == n_outputs[-1]), None)

    if not isinstance(net, nn.Module):
        yield lambda: None
        return
    hooks = [net.register_forward_hook(lambda *results: n_outputs.append(len(results[2])))]
    for module in net.modules():
        if isinstance(module, nn.Linear):
            hooks.append(module.register_forward_pre_hook(lambda layer, inputs: called.append((layer, len(inputs[0])))))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
