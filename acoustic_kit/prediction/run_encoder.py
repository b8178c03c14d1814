"""A run as a model of the feature `embed`: the layer before the last of the networks that it trained."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acoustic_kit.data.clips import Clips
from acoustic_kit.data.folds import FULL
from acoustic_kit.device import Compute
from acoustic_kit.errors import RunError, UsageError
from acoustic_kit.features.embed.encoder import OPENERS, Asked
from acoustic_kit.features.embed.families import as_frames
from acoustic_kit.features.weights import file_digest
from acoustic_kit.files import temporary_folder
from acoustic_kit.prediction.models import MemberModel, open_predictor
from acoustic_kit.prediction.new_clips import NO_FILE, NewClip, manifest_rows
from acoustic_kit.prediction.saved_models import TENSORS
from acoustic_kit.runs.run import RECORD_NAME, Run, open_run
from acoustic_kit.tables import listed

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from acoustic_kit.features import Feature, Wave
    from acoustic_kit.task import Task


@dataclass(frozen=True)
class RunEncoder:
    """The networks of a run, one a fold. Their input is the run's own feature."""

    run: Run
    asked: Asked

    learns = True

    @classmethod
    def open(cls, model: str, asked: Asked) -> RunEncoder | None:
        """Return the encoder of a run's folder; None if there is none. Raises AkitError if it cannot embed clips."""
        path = Path(model).expanduser()
        if not (path / RECORD_NAME).is_file():
            return None
        run = open_run(path)
        given = {"window": asked.window, "hop": asked.hop, "sample_rate": asked.sample_rate, "revision": asked.revision}
        if unfit := [name for name, value in given.items() if value is not None]:
            raise UsageError(f"{' and '.join(unfit)} cannot be set for the run {run.name}: its recipe cuts the clips")
        if not run.done or not all((path / "folds" / fold / TENSORS).is_file() for fold in run.done):
            raise RunError(f"The run {run.name} has no network that could embed clips.")
        return cls(run, asked)

    @property
    def sees_validation(self) -> bool:
        """Whether the training looked at the fold that it holds out, as for the best epoch."""
        return bool(self.run.bias_warnings)

    @property
    def digest(self) -> str:
        """SHA-256 of the digests of all networks, and of what decides their input and output."""
        record = self.run.record
        networks = {fold: file_digest(self.run.path / "folds" / fold / TENSORS) for fold in self.run.done}
        parts = networks, record.recipe_sha256, record.helpers, record.settings, record.features
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def parameters(self) -> Mapping[str, Any]:
        """Return the run's own name and the digest. Raises UsageError if the networks have no such layer."""
        digest = self.digest
        _check_layer(self.run.path, digest, self.asked.layer)
        return {"model": self.run.record.name, "weights_sha256": digest}

    def require_unseen(self, fold: str, ids: Collection[str]) -> None:
        """Raise RunError unless the run has a network of the fold, and it was trained on none of these clips."""
        name, reason = _fold_name(fold), "Its folds must be those of the clips that it embeds."
        if name not in self.run.done:
            known = ", ".join(self.run.done)
            raise RunError(f"The run {self.run.name} has no model of fold {name}, only of {known}. {reason}")
        predicted = self.run.predictions("oof", self.run.record.classes, name) if ids else None
        if seen := sorted(set(ids) - set(predicted.ids if predicted else ())):
            raise RunError(
                f"The run {self.run.name} did not hold out {len(seen)} of the {len(ids)} clips of fold {name} "
                f"({listed(seen)}), so its model may have been trained on them. {reason}"
            )

    def source(self, wave: Wave) -> Feature:
        """Return the run's feature. Raises RunError if its recipe reads more than one."""
        member, fold = self._member, self._fold
        features = member.features if fold is None else member.features_of(fold)
        columns = member.recipe.needs(member.settings).columns
        if len(features) != 1 or columns:
            read = " and ".join([*features, *(f"the column {column}" for column in columns)])
            raise RunError(f"The run {self.run.name} reads {read}; embed supports runs that read one feature.")
        return next(iter(features.values()))

    def load(self) -> None:
        """Load the network of the fold on the CPU."""
        if self._fold is not None:
            self._loaded(self._fold, "cpu")

    def _loaded(self, fold: str, device: str) -> _Loaded:
        return _loaded(self.run.path, self.digest, self.asked.layer, fold, device)

    def embed(self, sources: Sequence[np.ndarray], device: torch.device) -> list[np.ndarray]:
        """Return the frames of some clips: one of each crop that the recipe predicts, or of each place of a map."""
        fold = self._fold
        if fold is None:
            raise RunError(f"The run {self.run.name} has a model for each fold: take the feature from `for_fold`.")
        loaded = self._loaded(fold, str(device))
        with temporary_folder("akit-embed-") as folder:
            clips = self._clips(folder, sources, device)
            found: dict[int, np.ndarray] = {}
            for shape in dict.fromkeys(source.shape for source in sources):
                alike = [i for i, source in enumerate(sources) if source.shape == shape]
                found |= zip(alike, loaded.frames(self._member, replace(clips, rows=clips.rows[alike])), strict=True)
            return [found[i] for i in range(len(sources))]

    def _clips(self, folder: Path, sources: Sequence[np.ndarray], device: torch.device) -> Clips:
        """Return arrays of the run's feature as clips that its recipe reads."""
        from acoustic_store import FeatureStore

        record, store = self.run.record, FeatureStore.open(folder, create=True)
        ids = [str(number) for number in range(len(sources))]
        with store.writer("source", "float32", {"name": "source"}) as writer:
            left = iter(sources)
            for block in writer.plan([(id, "") for id in ids]):
                block.write([next(left) for _ in block.clips])
        rows = manifest_rows([NewClip(id, NO_FILE, id) for id in ids])
        features = dict.fromkeys(self._member.features, store["source"])
        task: Task = "multi" if record.task == "multi" else "single"
        return Clips(rows, tuple(record.classes), task, features, Compute(str(device), "32"))

    @property
    def _fold(self) -> str | None:
        return None if self.asked.training is None else _fold_name(self.asked.training.fold)

    @property
    def _member(self) -> MemberModel:
        return _opened(self.run.path, self.digest)


def _fold_name(training: str) -> str:
    """Return the run's name of the fold that training clips are of: FOLD, or RUN/FOLD when new clips are predicted."""
    name = training.rpartition("/")[2]
    return FULL if name == "all" else name


@lru_cache(maxsize=2)
def _opened(path: Path, digest: str) -> MemberModel:
    """Return a run, opened once a process. Raises AkitError if it cannot predict here."""
    return open_predictor(path, path.parent).members[0]


@lru_cache(maxsize=4)
def _check_layer(path: Path, digest: str, layer: str | None) -> None:
    """Raise UsageError unless the networks of a run have the layer, or any linear one."""
    import torch
    from torch import nn

    member = _opened(path, digest)
    record = member.run.record
    with torch.device("meta"):
        net = member.recipe.rebuild_model(member.settings, len(record.classes), record.backbone)
    modules = dict(net.named_modules())
    if layer is None and any(isinstance(module, nn.Linear) for module in modules.values()):
        return
    if layer is None or not layer or layer not in modules:
        reason = "no linear layer" if layer is None else f"no layer {layer!r}"
        near = difflib.get_close_matches(layer or "", modules, n=5) or list(modules)[1:11]
        raise UsageError(
            f"The network of the run {member.run.name} has {reason}; pass layer=…, such as {', '.join(near)}"
        )


@dataclass
class _Loaded:
    """The network of a fold, and the layer that is taken from it."""

    net: nn.Module
    layer: str | None  # of which the output is taken; None: of the last linear layer the input
    last: str | None = None  # the last linear layer that is called, found with the first clip
    takes_batches: dict[tuple[int, int], bool] = field(default_factory=dict)
    """Whether frames of a batch are those of each clip alone, by passes over the clips and rows of each."""

    def frames(self, member: MemberModel, clips: Clips) -> list[np.ndarray]:
        """Return the frames of clips whose arrays have one shape, each float32 (frames, d)."""
        n = len(clips)
        rows, passes = self._rows(member, clips)
        if n == 1:
            return [rows]
        if passes and len(rows) % (passes * n) == 0:
            form, width = (passes, len(rows) // n), rows.shape[1]
            by_clip = list(rows.reshape(passes, n, -1, width).swapaxes(0, 1).reshape(n, -1, width))
            if form not in self.takes_batches:
                last = replace(clips, rows=clips.rows[-1:])
                self.takes_batches[form] = self._is_alone(member, last, by_clip[-1])
            if self.takes_batches[form]:
                return by_clip
        return [self._rows(member, replace(clips, rows=clips.rows[i : i + 1]))[0] for i in range(n)]

    def _is_alone(self, member: MemberModel, clip: Clips, frames: np.ndarray) -> bool:
        """Return whether a clip has these frames if it is the only one, up to rounding."""
        alone = self._rows(member, clip)[0]
        return alone.shape == frames.shape and bool(np.abs(alone - frames).max() <= 1e-3 * np.abs(alone).max())

    def _rows(self, member: MemberModel, clip: Clips) -> tuple[np.ndarray, int]:
        """Return the frames that the recipe takes from all clips, float32 (rows, d), and how often it goes over them.

        A recipe calls the network at will. It goes over the clips in order, once for each view of a `forward`.
        """
        from torch import nn

        from acoustic_kit.training.evaluation import recorded_calls

        if self.layer is None and self.last is None:
            linear = {name: module for name, module in self.net.named_modules() if isinstance(module, nn.Linear)}
            called: list[str] = []
            hooks = [m.register_forward_pre_hook(lambda *_, name=n: called.append(name)) for n, m in linear.items()]
            self._predict(member, clip, hooks)
            self.last = called[-1]
        taken: list[Tensor] = []
        if self.layer is None:
            module = self.net.get_submodule(str(self.last))
            hook = module.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
        else:
            module = self.net.get_submodule(self.layer)
            hook = module.register_forward_hook(lambda *outputs: taken.append(outputs[2]))
        with recorded_calls() as calls:
            self._predict(member, clip, [hook])
        frames = [as_frames(one).flatten(0, 1).float().cpu().numpy() for one in taken]
        return np.concatenate(frames), sum(len(call.views) for call in calls)

    def _predict(self, member: MemberModel, clip: Clips, hooks: Sequence[RemovableHandle]) -> None:
        try:
            member.recipe.predict(self.net, clip, member.settings)
        finally:
            for hook in hooks:
                hook.remove()


@lru_cache(maxsize=2)
def _loaded(path: Path, digest: str, layer: str | None, fold: str, device: str) -> _Loaded:
    """Return the network of a fold, loaded once a process; ``digest`` detects a replaced run."""
    return _Loaded(_opened(path, digest).model(fold, Compute(device, "32")), layer)


OPENERS.append(RunEncoder.open)
