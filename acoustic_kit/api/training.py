"""Training of recipes in an open workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acoustic_kit.api.blend import FittedBlend
from acoustic_kit.api.progress import is_switched_on, progress, say, tune_events
from acoustic_kit.api.recipes import merged_settings
from acoustic_kit.api.runs import TrainedRun, TrainOptions, fold_names, train_jobs
from acoustic_kit.api.session import Session, warn, warn_of_changes, warn_of_leaks
from acoustic_kit.device import Compute
from acoustic_kit.errors import UsageError
from acoustic_kit.features.build.worker import worker_count
from acoustic_kit.prediction.teacher import open_pseudo_labels
from acoustic_kit.recipe.job import make_job
from acoustic_kit.recipe.pseudo import split_settings
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs import tuning
from acoustic_kit.runs.rounds import Round, compare_round


class TrainingSession(Session):
    """The methods that train recipes."""

    def run(
        self,
        recipe: str | Path,
        *,
        settings: Mapping[str, object] | None = None,
        folds: Sequence[int | str] | None = None,
        fast: bool = False,
        full: bool = False,
        seed: int = 0,
        note: str = "",
        fresh: bool = False,
        workers: int | None = None,
        device: str = "auto",
        precision: str = "auto",
        compile: bool = False,  # noqa: A002 (the name of the option)
        cluster: str | None = None,
        pseudo: str | TrainedRun | FittedBlend | None = None,
        trust: bool = False,
        **setting: object,
    ) -> TrainedRun:
        """Build the features that are missing, train the folds of a recipe, predict, and store the run.

        A stopped run resumes with the same call, and a finished one is returned at once.

        >>> ws.run("logmel_cnn", epochs=20, augment={"mixup": 0}).score

        Parameters
        ----------
        recipe : the name of a recipe, or its file
        settings : settings by name, for those that have the name of an option: `settings={"seed": 1}`
        folds : the folds to train; default: all
        fast : use the recipe's small settings
        full : fit one model on all training clips instead: test predictions, no out-of-fold ones
        seed : of training
        note : a remark, shown in the leaderboard
        fresh : discard the run if it exists
        workers : worker processes for features; default: one per core
        device, precision, compile : see `Compute`
        cluster : the address of a Dask scheduler, whose workers train the folds in parallel: `tcp://host:8786`
        pseudo : a run or a blend whose models label clips without labels, which are trained on, too. Its settings are
            given like those of the recipe: `**{"pseudo.power": 2}`, see `acoustic_kit.recipe.pseudo.PseudoSettings`
        trust : execute the recipe in the folder of `pseudo` if it was changed since
        setting : settings as keywords. One inside another is given by a mapping, `augment={"mixup": 0}`, or by its
            full name, `**{"augment.mixup": 0}`

        Raises
        ------
        UsageError : a recipe, setting or fold is unknown, or a setting is given twice
        AkitError : the recipe needs something that is missing, or fails

        """
        if full and folds is not None:
            raise UsageError("full=True trains one model on all clips: leave out folds.")
        workspace, compute = self.files, Compute(device, precision, compile)
        loaded = load_recipe(recipe, workspace.recipes_path)
        own, of_pseudo = split_settings(merged_settings(loaded, settings or {}, setting))
        values = loaded.settings(own, fast=fast)
        labels = open_pseudo_labels(workspace, _teacher_name(pseudo), of_pseudo, trust=trust)
        warn_of_leaks(workspace)
        warn_of_changes(workspace)
        here = compute if cluster is None else None  # workers have devices of their own
        job = make_job(workspace, loaded, values, seed, fast=fast, full=full, compute=here, pseudo=labels)
        if job.warning:
            warn(job.warning)
        options: TrainOptions = {"folds": fold_names(folds), "note": note, "fresh": fresh, "compute": compute}
        shown = {"progress": self.progress, "messages": is_switched_on(self.progress)}
        ((run, _),) = train_jobs([job], workers, cluster, options, **shown)
        for text in run.warnings:
            warn(f"{run.name}: {text}.")
        return TrainedRun(run, workspace)

    def pseudo(
        self,
        recipe: str | Path,
        teacher: str | TrainedRun | FittedBlend,
        *,
        rounds: int = 4,
        settings: Mapping[str, object] | None = None,
        folds: Sequence[int | str] | None = None,
        fast: bool = False,
        seed: int = 0,
        note: str = "",
        workers: int | None = None,
        device: str = "auto",
        precision: str = "auto",
        trust: bool = False,
        **setting: object,
    ) -> list[Round]:
        """Train a recipe on pseudo-labels in rounds: the run of each round is the teacher of the next.

        It ends early after a round that scores no higher than the one before. A stopped call resumes.

        >>> ws.pseudo("logmel_cnn", blend, rounds=4, **{"pseudo.power": 2})[-1].gain

        Parameters
        ----------
        teacher : of the first round, see `run`
        rounds : the largest number of rounds
        recipe, settings, folds, fast, seed, note, workers, device, precision, trust, setting : see
            `run`

        Returns the rounds, each with its run, score and gain. Raises as `run` does.

        """
        found: list[Round] = []
        options: dict[str, Any] = {"settings": settings, "folds": folds, "fast": fast, "seed": seed, "note": note}
        options |= {"workers": workers, "device": device, "precision": precision, "trust": trust, **setting}
        while len(found) < rounds and (len(found) < 2 or (found[-1].gain or 0) > 0):
            last = found[-1] if found else None
            if is_switched_on(self.progress):
                say(f"Round {len(found) + 1} of {rounds} at most.")
            made = self.run(recipe, pseudo=last.run.name if last else teacher, **options)
            files = self.files
            found.append(compare_round(made.stored, last, files.training_set, files.config.metric))
        return found

    def tune(
        self,
        recipe: str | Path,
        *,
        trials: int = 50,
        settings: Mapping[str, object] | None = None,
        folds: Sequence[int | str] | None = None,
        fast: bool = False,
        seed: int = 0,
        workers: int | None = None,
        device: str = "auto",
        precision: str = "auto",
        **setting: object,
    ) -> tuning.TuneResult:
        """Search the search space of a recipe; a stopped search resumes with the same call.

        >>> best = ws.tune("stats_pca_linear", trials=20).best
        >>> run = ws.run("stats_pca_linear", settings=best.settings)

        Parameters
        ----------
        trials : total number of trials, earlier calls included
        folds : folds to use; the last is held out of the search and scores the best settings; default: all
        recipe, settings, fast, seed, workers, device, precision, setting : see `run`

        Raises UsageError if the recipe has no search space or there are fewer than three folds, and as `run` does.

        """
        workspace = self.files
        loaded = load_recipe(recipe, workspace.recipes_path)
        warn_of_leaks(workspace)
        with progress(self.progress) as bar:
            return tuning.tune_recipe(
                workspace,
                loaded,
                merged_settings(loaded, settings or {}, setting),
                n_trials=trials,
                folds=fold_names(folds),
                fast=fast,
                seed=seed,
                workers=worker_count(workers),
                compute=Compute(device, precision),
                events=tune_events(bar) if is_switched_on(self.progress) else tuning.SILENT,
            )


def _teacher_name(teacher: str | TrainedRun | FittedBlend | None) -> str | None:
    """Return the name of a teacher, for a blend those of its runs."""
    if isinstance(teacher, FittedBlend):
        return ",".join(teacher.members)
    return teacher.name if isinstance(teacher, TrainedRun) else teacher
