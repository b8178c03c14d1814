"""Jobs: a recipe with its settings on a manifest; the build of its features, training and prediction of its folds.

The runner stores the results of a job as a run; tuning uses only the scores.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoustic_kit.data.clips import Clips, FitResult, Fold, TargetKind
from acoustic_kit.data.folds import FULL, FoldRows, fold_names, training_rows
from acoustic_kit.data.leaks import bias_of_fold
from acoustic_kit.data.schema import as_before_later_columns, is_unlabeled
from acoustic_kit.data.target_summary import summarize_targets
from acoustic_kit.device import AUTO, Compute
from acoustic_kit.errors import DataError, UsageError
from acoustic_kit.features import BuildReport, Feature, build_features, fingerprints, for_folds
from acoustic_kit.features.build.executor import Executor
from acoustic_kit.features.store_users import note_user
from acoustic_kit.features.wave import Wave
from acoustic_kit.recipe.inference import class_frequencies, has_features, infer
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.recipe.pseudo import PREDICTIONS_NAME, PseudoLabels
from acoustic_kit.recipe.recipe import Recipe
from acoustic_kit.recipe.settings import Fast, Settings
from acoustic_kit.workspace.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from acoustic_store import StoredFeature

    Stored = Mapping[str, StoredFeature]  # by the recipe's name for the feature


@dataclass(frozen=True)
class RunEvents:
    """Callbacks of a run in progress."""

    on_start: Callable[[str], None] = lambda _: None  # device and precision of the networks: `cpu, float32`
    on_build: Callable[[Feature, int, int], None] = lambda *_: None  # feature, clips done, clips to do
    on_built: Callable[[Sequence[BuildReport]], None] = lambda _: None
    on_fold: Callable[[int, int], None] = lambda *_: None  # folds done, folds to do
    on_epoch: Callable[[str, str, int, int, Mapping[str, float]], None] = lambda *_: None
    """Called with the fold, the stage, epochs done, epochs in all, and the epoch's figures by name."""
    on_label: Callable[[str, int, int], None] = lambda *_: None  # fold, clips that its teacher labeled, in all


# Columns of the manifest with paths and properties of files; in a run's name, `content` represents them.
_FILE_COLUMNS = (
    *("path", "start", "end"),
    *("duration", "sample_rate", "channels", "peak", "rms", "size", "mtime_ns", "content", "problem"),
)
MUCH_LONGER = 1.5  # times what a recipe reads: such clips are noted
SILENT = RunEvents()  # no callbacks


@dataclass(frozen=True)
class Job:
    """Everything that determines a run's result."""

    workspace: Workspace
    recipe: Recipe
    settings: Settings
    manifest: pl.DataFrame  # the workspace's, or a part of it
    seed: int = 0
    fast: bool = False
    full: bool = False
    warning: str | None = None  # about what the recipe needs, such as missing weights
    pseudo: PseudoLabels | None = None

    @cached_property
    def digests(self) -> dict[str, str]:
        """The digest of each clip's file, by id. Files are read or stat'ed once per job."""
        return fingerprints(self.manifest, self.workspace.data_root)

    @cached_property
    def features(self) -> dict[str, Feature]:
        """The features that the recipe reads, by its own names."""
        features, workspace = self.recipe.features(self.settings), self.workspace
        return {
            name: feature.with_mono(workspace.config.mono).located(workspace.model_folders)
            for name, feature in features.items()
        }

    @property
    def folds(self) -> list[str]:
        """Names of the folds that can be trained."""
        return [FULL] if self.full else fold_names(self.manifest)

    @cached_property
    def name(self) -> str:
        """`<recipe>-<8 hex>`: a hash of everything that determines the result, not of folds, device or paths."""
        return f"{self.recipe.name}-{_hash({**self._identity, 'seed': self.seed})}"

    @cached_property
    def setting(self) -> str:
        """8 hex digits that all seeds share: a hash of everything that determines the result except the seed."""
        return _hash(self._identity)

    @cached_property
    def _identity(self) -> dict[str, Any]:
        import polars as pl

        content = list(self.digests.values())
        left_out = {fold: rows.left_out["id"].to_list() for fold, rows in self.rows.items()}
        rows = as_before_later_columns(self.manifest.drop(_FILE_COLUMNS, strict=False))
        rows = rows.with_columns(content=pl.Series(content, dtype=pl.String))
        rows = rows.select(sorted(rows.columns))
        return {
            "settings": self.settings.model_dump(mode="json"),
            "recipe": self.recipe.file.source,
            "helpers": self.recipe.file.helper_digests,
            "manifest": hashlib.sha256(rows.sort("id").write_json().encode()).hexdigest(),
            "classes": self.workspace.task_spec.names,
            "metric": self.workspace.config.metric,
            "features": {alias: feature.key for alias, feature in self.features.items()},
            "fast": self.fast,
            "full": self.full,
            **({"left_out": left_out} if any(left_out.values()) else {}),  # earlier versions trained on them
            **({"pseudo": self.pseudo.identity} if self.pseudo else {}),
        }

    @cached_property
    def rows(self) -> dict[str, FoldRows]:
        """The rows of the manifest that each fold uses."""
        return {fold: training_rows(self.manifest, fold) for fold in self.folds}

    def clips(self, rows: pl.DataFrame, stored: Stored, compute: Compute = AUTO) -> Clips:
        """Return rows of the manifest with the recipe's features."""
        spec = self.workspace.task_spec
        return Clips(rows, spec.names, spec.task, stored, compute)


def make_job(
    workspace: Workspace,
    recipe: Recipe,
    settings: Settings,
    seed: int = 0,
    *,
    fast: bool = False,
    full: bool = False,
    compute: Compute | None = None,
    pseudo: PseudoLabels | None = None,
) -> Job:
    """Return the job of a recipe on a workspace's clips, or on those of its small form, if all that it needs exists.

    If the recipe's result depends on no seed, its job has seed 0. Without `pseudo`, unlabeled extra clips are left out.

    - `compute`: device and precision of the training, which are checked; None if other machines train it

    Raises AkitError if the device or the model of a feature is missing, or for the first of the recipe's needs that is
    not met, see `Needs`.
    """
    import polars as pl

    if compute is not None:
        device_in_words(recipe, compute)
    warning = recipe.needs(settings).check(workspace.manifest.columns, full=full)
    manifest = workspace.manifest
    if pseudo is None or pseudo.settings.on == "labelled":
        manifest = manifest.filter((pl.col("split") == "test") | ~is_unlabeled())
    elif not manifest.select(is_unlabeled().any()).item():
        raise UsageError(
            "There are no clips without labels to pseudo-label: no test clips and no unlabeled --extra clips. "
            "For distillation to the labeled ones, use --set pseudo.on=labelled."
        )
    manifest = fast_manifest(manifest, recipe.fast) if fast else manifest
    job = Job(workspace, recipe, settings, manifest, seed if recipe.is_seeded else 0, fast, full, warning, pseudo)
    for feature in job.features.values():
        _ = feature.key  # needs its model
    return job


def _hash(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def fit_fold(
    job: Job, name: str, stored: Stored, folder: Path, compute: Compute = AUTO, events: RunEvents = SILENT
) -> tuple[Fold, FitResult]:
    """Train the model of one fold on the clips that have all features.

    - `name`: of the fold, or `FULL`
    - `folder`: for checkpoints, from which the same call resumes; has what the teacher of pseudo-labels predicts

    Returns the fold that the recipe trained on, and its model with all warnings and notes. Raises DataError if too few
    clips can be read.
    """
    train, valid, left_out = job.rows[name]
    pseudo, remarks = frozenset[str](), list[str]()
    if job.pseudo is not None:
        spec = job.workspace.task_spec
        found = Predictions.read(folder / PREDICTIONS_NAME, spec.names)
        train, pseudo, remarks = job.pseudo.label(job.manifest, job.rows[name], found, spec.names, spec.task)
    usable = replace(_readable(job.clips(train, stored, compute)), pseudo=pseudo)
    if usable.rows["label"].explode().drop_nulls().n_unique() < 2:
        raise DataError(
            f"Fold {name} has no training clips of two classes. `akit features info NAME` lists what failed."
        )
    bias_warnings = [f"{x} was fitted on validation clips too" for x, f in job.features.items() if f.sees_validation]
    bias_warnings += bias_of_fold(usable.rows, valid)
    bias_warnings += job.pseudo.bias_warnings if job.pseudo else ()
    if len(left_out):
        remarks.append(f"not trained on {len(left_out)} extra clips that are equal to held-out clips or share a group")
    fold = Fold(
        name,
        usable,
        _readable(job.clips(valid, stored, compute)) if len(valid) else None,
        fold_seed(job.seed, name),
        job.workspace.config.metric,
        folder,
        partial(events.on_epoch, name),
    )
    notes = tuple(f"fold {name}: {remark}" for remark in remarks)
    before = FitResult(None, tuple(bias_warnings) if len(valid) else (), notes)
    result = job.recipe.train(fold, job.settings)
    return fold, result.after(before, notes=_unused_targets(job, result.uses) + _cut_clips(job))


def _unused_targets(job: Job, uses: Collection[TargetKind]) -> list[str]:
    """Return a note on soft and unknown targets and weights that training did not use; the same for each fold."""
    found = summarize_targets(job.manifest.filter(~is_unlabeled()))
    unused = [
        f"{found.soft:,} soft targets" if found.soft and "soft" not in uses else "",
        f"{found.unknown:,} unknown targets" if found.unknown and "unknown" not in uses else "",
        f"the weights of {found.weighted_clips:,} clips" if found.weighted_clips and "weights" not in uses else "",
        "the probabilities of pseudo-labels" if job.pseudo and "soft" not in uses else "",
        "their weights" if job.pseudo and "weights" not in uses and not job.recipe.has_network else "",
    ]
    named = " and ".join(filter(None, unused))
    return [f"trained on the hard labels: these settings of the recipe do not use {named}"] if named else []


def _cut_clips(job: Job) -> list[str]:
    """Return a note on clips of which the features hold only a part; the same for each fold."""
    lengths = set()
    for feature in job.features.values():
        while feature.source is not None:
            feature = feature.source  # noqa: PLW2901
        lengths.add(feature.seconds if isinstance(feature, Wave) else None)
    read = max((seconds or math.inf for seconds in lengths), default=math.inf)
    n = int((job.manifest["duration"] > MUCH_LONGER * read).sum())
    if not n or job.fast:
        return []
    return [
        f"{n:,} clips are much longer than the {read:g} s that this recipe reads of a clip: divide them with "
        "`akit init --window`"
    ]


def predict_rows(job: Job, fold: Fold, model: Any, rows: pl.DataFrame, stored: Stored) -> tuple[Predictions, list[str]]:
    """Return a fold model's predictions of rows of the manifest, and the ids that lack features; see `infer`."""
    clips = job.clips(rows, stored, fold.compute)
    probabilities, held = infer(job.recipe, job.settings, model, clips, class_frequencies(fold))
    return Predictions(tuple(clips.ids), probabilities), sorted(rows.filter(~held)["id"])


def _readable(clips: Clips) -> Clips:
    """Return the clips that have all features."""
    return replace(clips, rows=clips.rows.filter(has_features(clips)))


def stored_features(
    job: Job,
    folds: Sequence[str],
    workers: int,
    events: RunEvents,
    device: str = "auto",
    executor: Executor | None = None,
) -> dict[str, Stored]:
    """Build the features that the store lacks, and return all of the recipe as each fold reads them.

    - `device`: that of the run; features with a form for GPUs are computed there
    - `executor`: computes the blocks instead of `workers` processes
    """
    workspace, store = job.workspace, job.workspace.store()
    note_user(workspace.store_place, workspace.root)
    of_fold = _features_of_folds(job, folds)
    wanted = [feature for features in of_fold.values() for feature in features]
    reports = build_features(
        job.manifest,
        workspace.data_root,
        store,
        wanted,
        workers=workers,
        on_progress=events.on_build,
        device=device,
        executor=executor,
        digests=job.digests,
    )
    events.on_built(reports)
    workspace.remember_features([job.recipe.name] if job.recipe.named else [])
    return _opened(job, of_fold)


def open_features(job: Job, folds: Sequence[str]) -> dict[str, Stored]:
    """Return the recipe's features, already built, as each fold reads them."""
    return _opened(job, _features_of_folds(job, folds))


def _features_of_folds(job: Job, folds: Sequence[str]) -> dict[str, list[Feature]]:
    return for_folds(list(job.features.values()), job.manifest, job.workspace.data_root, folds, job.digests)


def _opened(job: Job, of_fold: Mapping[str, Sequence[Feature]]) -> dict[str, Stored]:
    store = job.workspace.store()
    opened = {feature.key: store[feature.key] for features in of_fold.values() for feature in features}
    return {
        fold: dict(zip(job.features, (opened[feature.key] for feature in features), strict=True))
        for fold, features in of_fold.items()
    }


def device_in_words(recipe: Recipe, compute: Compute) -> str | None:
    """Return the device and precision of a recipe's networks, as in `cpu, float32`; None for a recipe without any.

    Raises AkitError if a named device is missing, also if only features would use it.
    """
    if not recipe.has_network:
        if compute.device != "auto":
            compute.gpu()
        return None
    from acoustic_kit.training.fabric import describe

    return describe(compute)


def being_trained(name: str) -> str:
    """Return the message for a run or a study whose folder another process has locked."""
    return f"{name} is being trained by another process; wait until it has finished."


def fold_seed(seed: int, fold: str) -> int:
    """Return the seed of one fold of one run: 31 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{fold}".encode()).digest()[:4], "little") >> 1


def wanted_folds(folds: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """Return the requested folds in their order, each once; all if None. Raises UsageError for an unknown one."""
    unknown = sorted(set(folds or ()) - set(known))
    if unknown:
        raise UsageError(f"There is no fold {', '.join(unknown)} to train: the folds are {', '.join(known)}.")
    return list(dict.fromkeys(known if folds is None else folds))


def fast_manifest(manifest: pl.DataFrame, fast: Fast) -> pl.DataFrame:
    """Return the clips of a recipe's small form: the first of each class in each of the first folds, all test clips."""
    import polars as pl

    if fast.folds is not None:
        first = manifest["fold"].drop_nulls().unique().sort().head(fast.folds).to_list()
        manifest = manifest.filter(pl.col("fold").is_null() | pl.col("fold").is_in(first))
    if fast.clips_per_class is None:
        return manifest
    first_of_class = pl.int_range(pl.len()).over("split", "fold", "label") < fast.clips_per_class
    return manifest.filter((pl.col("split") == "test") | first_of_class)
