"""The last hour of a competition: runs joined by id, blended, and written as a checked submission."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from acoustic_kit.blending import METHODS, Blend, choose, first_of_equal, mean, plain_blend
from acoustic_kit.ensemble.blend_submission import write_blend
from acoustic_kit.ensemble.candidates import Candidate, by_score, common_clips, named
from acoustic_kit.ensemble.competition import require_submittable
from acoustic_kit.ensemble.result import BlendResult, By
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.metrics.scores import score, validate_metric
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.submission.record import checked_name
from acoustic_kit.workspace.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl


WITHOUT_FIT = ("mean", "geometric", "rank")  # methods that need no labels


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
    metric : what decides; None is the workspace's
    method : a name in `blending.METHODS`; "auto" averages four of them
    runs : candidates by name, `RUN` or, of one fold's model, `RUN/FOLD`; without, all runs that `by_score` finds
    by : "fold" takes every fold model for a run: it is ranked by its score on its own held-out fold, and as no two see
        the same labelled clips nothing can be fitted or estimated
    diverse : of the best, choose runs whose errors differ
    decision : "tuned" fits thresholds of several labels too, where that gains; see `blending.choose`
    name : of the submission; by default made from what is in it
    overwrite : replace another submission of this name, with what was noted of it; without, nothing is written then
    seed : of the nested folds and the bootstrap
    on_progress : hears (done, total) where it takes long

    Raises UsageError for unknown runs, metric, method or name and for options that do not go together, and AkitError
    where no run can be blended.

    """
    metric = metric or workspace.config.metric
    validate_metric(metric, workspace.config.task)
    if method not in METHODS:
        raise UsageError(f"There is no blend method {method!r}; there are {', '.join(METHODS)}.")
    if top is not None and runs and by == "run":
        raise UsageError("--top chooses among all runs; it does not go with --runs.")
    name = checked_name(name) if name else None
    require_submittable(workspace, metric)  # told before the work
    found, left_out, read = (named(workspace, runs), {}, {}) if runs else by_score(workspace, metric)
    if _takes_fold_models(found, by):
        why = "fold models have no common labelled clips to fit on"
        method = _method_without_labels(method, why, unfit=diverse or decision != "argmax")
        result = _by_fold(workspace, found, left_out, metric, method, top, seed)
    else:
        options = {"top": top, "seed": seed, "diverse": diverse, "on_progress": on_progress}
        result = _by_run(workspace, found, left_out, read, metric, method, decision, **options)
    return write_blend(workspace, replace(result, name=name or _default_name(result)), overwrite=overwrite)


def _method_without_labels(method: str, why: str, *, unfit: bool) -> str:
    """The method, of which `auto` is the mean. Raises UsageError, with `why`, for what has to be fitted to labels."""
    method = "mean" if method == "auto" else method
    if unfit or method not in WITHOUT_FIT:
        raise UsageError(f"{why}: take --method {', '.join(WITHOUT_FIT)}, without --diverse or --decision tuned.")
    return method


def _takes_fold_models(found: Sequence[Candidate], by: By) -> bool:
    """Whether fold models are blended: asked for, or named. Raises UsageError if whole runs are named beside them."""
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
    """The blend of whole runs."""
    task_spec, train, seed = workspace.task_spec, workspace.training_set, options["seed"]
    found = [read.pop(one.name, None) or one.predictions("oof", task_spec.names) for one in candidates]
    oofs = [oof for oof in found if oof]
    fast = all(one.run.record.fast for one in candidates)
    scored = common_clips(train, oofs, whole_folds=not fast) if len(oofs) == len(candidates) else np.zeros(0, bool)
    if not scored.any():
        why = "Some of these runs have no out-of-fold predictions for all training clips, so nothing can be fitted"
        method = _method_without_labels(method, why, unfit=decision != "argmax")
        plain = plain_blend(len(candidates), method, task_spec.task)
        return _result(metric, method, seed, candidates, left_out, plain)
    clips = train.filter(scored)
    probabilities = [oof.aligned(clips.ids) for oof in oofs]  # float64, as the leaderboard scores them
    first = first_of_equal(probabilities)
    left_out |= {
        one.name: f"has the predictions of {candidates[first[i]].name}"
        for i, one in enumerate(candidates)
        if first[i] != i
    }
    probabilities = [run for i, run in enumerate(probabilities) if first[i] == i]
    candidates = [one for i, one in enumerate(candidates) if first[i] == i]
    groups = clips.groups if clips.n_groups else None
    blend = choose(probabilities, clips.targets, groups, metric, method, decision=decision, **options)
    mean_of_all = score(metric, clips.targets, mean(probabilities, task_spec.task))
    result = _result(metric, method, seed, candidates, left_out, blend)
    scored_on = "" if scored.all() else _described(train.rows, scored)
    return replace(result, mean_of_all=mean_of_all, by_group=clips.n_groups > 0, scored_on=scored_on)


def _result(
    metric: str, method: str, seed: int, candidates: Sequence[Candidate], left_out: dict[str, str], blend: Blend
) -> BlendResult:
    members = tuple(candidates[i] for i in blend.members)
    return BlendResult(
        "", metric, method, "run", seed, tuple(candidates), members, left_out, blend, None, {}, by_group=False
    )


def _described(train: pl.DataFrame, scored: np.ndarray) -> str:
    """Which of the training clips these are: `fold 2, 9,981 of 94,824 training clips`."""
    folds = train.filter(scored)["fold"].unique().sort().to_list()
    whole = len(train.filter(train["fold"].is_in(folds))) == scored.sum()
    name = f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}, " if whole else ""
    return f"{name}{scored.sum():,} of {len(scored):,} training clips"


def _by_fold(
    workspace: Workspace,
    named: Sequence[Candidate],
    left_out: dict[str, str],
    metric: str,
    method: str,
    top: int | None,
    seed: int,
) -> BlendResult:
    """Every fold model for itself, ranked by its score on the clips that it did not see."""
    task_spec, train = workspace.task_spec, workspace.training_set
    scored: list[tuple[Candidate, float]] = []
    seen: dict[bytes, str] = {}
    for asked in named:
        for fold in [asked.fold] if asked.fold else asked.run.done:
            one = Candidate(asked.run, fold)
            oof = one.predictions("oof", task_spec.names)
            known, probabilities = oof.found(train.ids) if oof else (np.zeros(0, bool), np.zeros(0))
            if not known.any():
                continue
            digest = hashlib.sha256(known.tobytes() + probabilities.tobytes()).digest()
            first = seen.setdefault(digest, one.name)
            if first == one.name:
                scored.append((one, score(metric, train.targets[known], probabilities)))
            else:
                left_out = {**left_out, one.name: f"has the predictions of {first}"}
        if not any(one.run.path == asked.run.path for one, _ in scored) and asked.run.name not in left_out:
            left_out = {**left_out, asked.run.name: "has no fold models with a held-out fold"}
    if not scored:
        raise AkitError("None of these runs has fold models, so there is nothing to blend by fold.")
    scored.sort(key=lambda pair: (-pair[1], pair[0].name))
    candidates = tuple(one for one, _ in scored)
    members = candidates[:top]
    blend = plain_blend(len(candidates), method, task_spec.task, members=range(len(members)))
    own = {one.name: value for one, value in scored}
    return BlendResult("", metric, method, "fold", seed, candidates, members, left_out, blend, None, own, False)


def _default_name(result: BlendResult) -> str:
    text = json.dumps([result.metric, [one.name for one in result.members], result.blend.of_members().to_dict()])
    return f"blend-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
