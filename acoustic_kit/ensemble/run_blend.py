"""Blends of runs: candidates joined by clip id, blended, and written as a checked submission."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from acoustic_kit.blending import METHODS, choose, first_of_equal, mean, plain_blend
from acoustic_kit.blending.recordings import Recordings
from acoustic_kit.ensemble.blend_submission import write_blend
from acoustic_kit.ensemble.candidates import Candidate, candidates_by_name, candidates_by_score, common_clips
from acoustic_kit.ensemble.competition import require_submittable
from acoustic_kit.ensemble.result import BlendResult, By
from acoustic_kit.errors import RunError, UsageError
from acoustic_kit.metrics.names import get_metric, validate_metric
from acoustic_kit.metrics.scores import score
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.submission.record import checked_name
from acoustic_kit.workspace.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl


WITHOUT_FIT = ("mean", "geometric", "rank", "power")  # methods that need no labels


def blend_runs(
    workspace: Workspace,
    *,
    top: int | None = None,
    metric: str | None = None,
    method: str = "auto",
    runs: Sequence[str] = (),
    by: By = "run",
    diverse: bool = False,
    decision: str = "argmax",
    name: str | None = None,
    overwrite: bool = False,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> BlendResult:
    """Choose runs by their out-of-fold score, combine them, and write `submissions/<name>.csv` with its `.json`.

    Parameters
    ----------
    top : how many runs to choose; None leaves it to the method
    metric : name or weighted sum; None is the workspace's
    method : a name in `blending.METHODS`; "auto" combines four of them
    runs : names of candidates, `RUN` or, for one fold's model, `RUN/FOLD`; by default those of `candidates_by_score`
    by : "fold" treats every fold model as a run, ranked by its score on its own held-out fold; fold models have no
        common labeled clips, so nothing is fitted or estimated
    diverse : choose runs whose errors differ instead of the best ones
    decision : "tuned" also fits thresholds for several labels, and keeps them if they gain; see `blending.choose`
    name : of the submission; by default `blend-<8 hex>`, a digest of the metric, the runs and the blend
    overwrite : replace another submission of this name and its record; if False, none is written over it
    seed : of the nested folds and the bootstrap
    on_progress : called with (fits done, fits in total)

    Raises UsageError for unknown runs, metric, method or name and for options that do not go together, and AkitError
    if no run can be blended.

    """
    metric = workspace.metric(metric)
    validate_metric(metric, workspace.config.task)
    if method not in METHODS:
        raise UsageError(f"There is no blend method {method!r}; there are {', '.join(METHODS)}.")
    if top is not None and runs and by == "run":
        raise UsageError("--top chooses among all runs; it does not go with --runs.")
    name = checked_name(name) if name else None
    require_submittable(workspace, metric)  # fails before the work
    found, left_out, read = (
        (candidates_by_name(workspace, runs), {}, {}) if runs else candidates_by_score(workspace, metric)
    )
    if _use_fold_models(found, by):
        why = "fold models have no common labeled clips to fit on"
        method = _method_without_labels(method, why, unfit=diverse or decision != "argmax")
        result = _by_fold(workspace, found, left_out, metric, method, top, seed)
    else:
        options = {"top": top, "seed": seed, "diverse": diverse, "on_progress": on_progress}
        result = _by_run(workspace, found, left_out, read, metric, method, decision, **options)
    named = replace(result, name=name or _default_name(result))
    return write_blend(workspace, named, overwrite=overwrite, is_named=name is not None)


def _method_without_labels(method: str, why: str, *, unfit: bool) -> str:
    """Return the method, `auto` as `mean`. Raises UsageError, with `why`, for methods and options that need labels."""
    method = "mean" if method == "auto" else method
    if unfit or method not in WITHOUT_FIT:
        raise UsageError(f"{why}: use --method {', '.join(WITHOUT_FIT)}, without --diverse or --decision tuned.")
    return method


def _use_fold_models(found: Sequence[Candidate], by: By) -> bool:
    """Return whether to blend fold models: by option or by name. Raises UsageError for names of both kinds."""
    of_fold = [one.name for one in found if one.fold]
    whole = [one.name for one in found if not one.fold]
    if of_fold and whole and by == "run":
        raise UsageError(
            f"--runs names fold models ({of_fold[0]}) and whole runs ({whole[0]}); name fold models alone, "
            "or take all fold models of the whole runs too with --by fold."
        )
    return by == "fold" or bool(of_fold)


def _by_run(
    workspace: Workspace,
    candidates: Sequence[Candidate],
    left_out: dict[str, str],
    read: dict[str, Predictions],
    metric: str,
    method: str,
    decision: str,
    **options: Any,
) -> BlendResult:
    """Blend whole runs."""
    task_spec, train, seed = workspace.task_spec, workspace.training_set, options["seed"]
    found = [read.pop(one.name, None) or one.predictions("oof", task_spec.names) for one in candidates]
    oofs = [oof for oof in found if oof]
    fast = all(one.run.record.fast for one in candidates)
    scored = common_clips(train, oofs, whole_folds=not fast) if len(oofs) == len(candidates) else np.zeros(0, bool)
    if not scored.any():
        why = "Some of these runs have no out-of-fold predictions for all training clips, so nothing can be fitted"
        method = _method_without_labels(method, why, unfit=decision != "argmax")
        plain = plain_blend(len(candidates), method, task_spec.task)
        members = tuple(candidates[i] for i in plain.members)
        return BlendResult("", metric, method, "run", seed, tuple(candidates), members, left_out, plain)
    clips = train.filter(scored)
    probabilities = [oof.aligned(clips.ids) for oof in oofs]  # float64, as the leaderboard scores them
    first = first_of_equal(probabilities)
    same = {one.name: candidates[k].name for i, (one, k) in enumerate(zip(candidates, first, strict=True)) if k != i}
    distinct = [i for i, k in enumerate(first) if k == i]
    probabilities, candidates = [probabilities[i] for i in distinct], [candidates[i] for i in distinct]
    groups = clips.groups if clips.n_groups else None
    recordings = Recordings.of(clips.rows["path"], clips.rows["start"])
    options |= {"decision": decision, "recordings": recordings}
    blend = choose(probabilities, clips.targets, groups, metric, method, **options)
    return BlendResult(
        name="",
        metric=metric,
        method=method,
        by="run",
        seed=seed,
        candidates=tuple(candidates),
        members=tuple(candidates[i] for i in blend.members),
        left_out=left_out | _same_predictions(same),
        blend=blend,
        mean_of_all=score(metric, clips.targets, mean(probabilities, task_spec.task)),
        by_group=clips.n_groups > 0,
        scored_on="" if scored.all() else _described(train.rows, scored),
    )


def _same_predictions(first: dict[str, str]) -> dict[str, str]:
    """Return candidate → why it is left out, for duplicate → the first candidate with the same predictions."""
    return {name: f"has the same predictions as {other}" for name, other in first.items()}


def _described(train: pl.DataFrame, scored: np.ndarray) -> str:
    """Describe a part of the training clips: `fold 2, 9,981 of 94,824 training clips`."""
    folds = train.filter(scored)["fold"].unique().sort().to_list()
    whole = len(train.filter(train["fold"].is_in(folds))) == scored.sum()
    name = f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}, " if whole else ""
    return f"{name}{scored.sum():,} of {len(scored):,} training clips"


def _by_fold(
    workspace: Workspace,
    found: Sequence[Candidate],
    left_out: dict[str, str],
    metric: str,
    method: str,
    top: int | None,
    seed: int,
) -> BlendResult:
    """Blend fold models, ranked by their scores on their own held-out clips."""
    train, scored, scores, same = workspace.training_set, list[Candidate](), dict[str, float](), dict[str, str]()
    first_with: dict[bytes, str] = {}  # digest of predictions → the first candidate that has them
    without = {one.run.name: "has no fold models with a held-out fold" for one in found}
    for model in [Candidate(one.run, fold) for one in found for fold in ([one.fold] if one.fold else one.run.done)]:
        oof = model.predictions("oof", workspace.task_spec.names)
        known, probabilities = oof.found(train.ids) if oof else (np.zeros(0, bool), np.zeros(0))
        if not known.any():
            continue
        without.pop(model.run.name, None)
        digest = hashlib.sha256(known.tobytes() + probabilities.tobytes()).digest()
        first = first_with.setdefault(digest, model.name)
        if first == model.name:
            scored.append(model)
            scores[model.name] = score(metric, train.targets[known], probabilities)
        else:
            same[model.name] = first
    if not scored:
        raise RunError("None of these runs has fold models, so there is nothing to blend by fold.")
    sign = get_metric(metric).sign
    candidates = tuple(sorted(scored, key=lambda model: (-sign * scores[model.name], model.name)))
    members = candidates[:top]
    return BlendResult(
        name="",
        metric=metric,
        method=method,
        by="fold",
        seed=seed,
        candidates=candidates,
        members=members,
        left_out=without | left_out | _same_predictions(same),
        blend=plain_blend(len(candidates), method, workspace.task_spec.task, members=range(len(members))),
        own_scores=scores,
    )


def _default_name(result: BlendResult) -> str:
    text = json.dumps([result.metric, [one.name for one in result.members], result.blend.of_members().to_dict()])
    return f"blend-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
