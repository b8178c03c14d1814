"""Workspaces with runs that were not trained: generated predictions, records and logs."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile

from acoustic_kit.data.manifest import manifest_schema
from acoustic_kit.recipe.predictions import Predictions
from acoustic_kit.runs.run import FoldRecord, Run, RunRecord
from acoustic_kit.workspace.workspace import Workspace

RATE = 8000
FOLDS = 3


class Competition:
    """Workspace of generated clips; `run` adds a run to it."""

    def __init__(
        self,
        root: Path,
        classes: Sequence[str] = ("dog", "rain", "wind"),
        n_clips: int = 60,
        *,
        task: str = "single",
        metric: str | None = None,
        names: Callable[[int], str] = "clip{}.wav".format,
        grouped: bool = False,
    ) -> None:
        rng = np.random.default_rng(0)
        self.classes, self.rng = tuple(classes), rng
        self.ids = [names(i) for i in range(n_clips)]
        if task == "multi":
            self.targets = rng.random((n_clips, len(classes))) < 0.4
            self.targets[:, 0] |= ~self.targets.any(axis=1)
            labels = [[classes[c] for c in np.flatnonzero(row)] for row in self.targets]
        else:
            self.targets = np.arange(n_clips) % len(classes)
            labels = [[classes[c]] for c in self.targets]
        (root / "data").mkdir(parents=True)
        for i, id in enumerate(self.ids):
            tone = 0.3 * np.sin(2 * np.pi * (200 + 10 * i) * np.arange(RATE // 4) / RATE)
            soundfile.write(root / "data" / id, tone + 0.02 * rng.standard_normal(len(tone)), RATE)
        columns: dict[str, Any] = {
            "id": self.ids,
            "path": self.ids,
            "label": labels,
            "fold": [i * FOLDS // n_clips + 1 for i in range(n_clips)],
            "group": [f"g{i // 4}" for i in range(n_clips)] if grouped else [None] * n_clips,
            "split": ["train"] * n_clips,
            "duration": [0.25] * n_clips,
        }
        schema = manifest_schema()
        rest = {name: [None] * n_clips for name in schema if name not in columns}
        pl.DataFrame(columns | rest, schema=schema).write_parquet(root / "manifest.parquet")
        metric = metric or ("f1" if task == "multi" else "accuracy")
        lines = ['data = "data"', 'layout = "csv"', f'task = "{task}"', f'metric = "{metric}"', "[classes]"]
        lines += [f"{json.dumps(name)} = {i}" for i, name in enumerate(classes)]
        (root / "akit.toml").write_text("\n".join(lines))
        self.workspace, self.task = Workspace.find(root), task

    def probabilities(self, skill: float) -> np.ndarray:
        """(clips, classes): the better the higher `skill`."""
        truth = self.targets if self.targets.ndim == 2 else self.targets[:, None] == np.arange(len(self.classes))
        logits = self.rng.standard_normal(truth.shape) + skill * truth
        if self.targets.ndim == 2:
            return np.asarray(1 / (1 + np.exp(skill / 2 - logits)))
        return np.asarray(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))

    def run(self, name: str, skill: float = 2.0, *, clips: slice = slice(None), oof: bool = True, **record: Any) -> Run:
        """A run with out-of-fold predictions of some clips, all folds done, and a log of one stage."""
        path = self.workspace.runs_path / name
        path.mkdir(parents=True)
        if oof:
            Predictions(tuple(self.ids[clips]), self.probabilities(skill)[clips]).write(
                path / "oof.parquet", self.classes
            )
        folds = record.pop("folds", ["1", "2", "3"])
        optimistic = record.pop("optimistic", [])
        for fold in folds:
            (path / "folds" / fold).mkdir(parents=True)
            done = FoldRecord(seconds=20.0, trained_on=40, without_features=[], optimistic=optimistic)
            (path / "folds" / fold / "fold.json").write_text(done.model_dump_json())
        plain: dict[str, Any] = {
            "name": name, "recipe": "made_up", "title": "Made up", "settings": {}, "changed": {}, "seed": 0,
            "fast": False, "full": False, "note": "", "task": self.task, "classes": list(self.classes), "features": {},
            "folds": folds, "versions": {}, "akit": "0", "created": "2026-01-01T00:00:00+00:00",
        }  # fmt: skip
        return Run(path, RunRecord(**(plain | record))).with_record()

    def log(self, run: Run, stage: str = "cnn", epochs: int = 5, figure: str = "accuracy") -> None:
        """Learning curves in every fold of a run."""
        for number, fold in enumerate(run.record.folds):
            lines = [
                {"epoch": e, "lr": 0.1, "train_loss": 2 / e, "valid_loss": 2.5 / e + number, f"valid_{figure}": e / 10}
                for e in range(1, epochs + 1)
            ]
            text = "\n".join(json.dumps(line) for line in lines)
            (run.path / "folds" / fold / f"{stage}.jsonl").write_text(text)


HOSTILE = (
    "<script>document.title = 'owned'; alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "' onmouseover='alert(3)",
    "</style></script><svg onload=alert(4)>",
    "{{ 7 * 7 }}{% raw %}",
    "two\nlines\t&amp; &lt;b&gt;",
    "\u202egnp.exe",
    "<!-- ]]>" + 60 * "long ",
)


@pytest.fixture
def hostile(tmp_path: Path) -> Competition:
    """Return a competition whose names are markup: classes, ids, files, notes, settings, stages, figures, blends.

    Names of runs are not: a run with such a name cannot be read.
    """
    competition = Competition(
        tmp_path / "<i>work & co",
        HOSTILE,
        64,
        names=lambda i: f"{i} {HOSTILE[i % 4].replace('/', '<')}.wav",
        grouped=True,
    )
    for i, name in enumerate(HOSTILE[:4]):
        run = competition.run(
            f"run{i}",
            i,
            note=name,
            changed={name: name},
            optimistic=[name],
            title=name,
            recipe=name,
        )
        competition.log(run, stage=name.replace("/", "<"), figure=name)
    competition.workspace.submissions_path.mkdir()
    record = {
        "submission": "x.csv", "sha256": "", "metric": HOSTILE[0], "method": HOSTILE[1], "seed": 0,
        "runs": [{"name": "run3", "recipe": HOSTILE[0], "weight": 1, "optimistic": [HOSTILE[2]], "test_sha256": ""}],
        "candidates": [], "blend": {}, "scores": None, "template": None, "template_sha256": None, "akit": "",
        "created": HOSTILE[1], "note": HOSTILE[3],
    }  # fmt: skip
    (competition.workspace.submissions_path / f"{HOSTILE[1]}.json").write_text(json.dumps(record))
    (competition.workspace.submissions_path / f"{HOSTILE[0].replace('/', '')}.json").write_text("{")
    return competition


@pytest.fixture
def competition(tmp_path: Path) -> Competition:
    """Return a competition of three classes and 60 clips, without runs."""
    return Competition(tmp_path / "work")


@pytest.fixture
def make_competition(tmp_path: Path) -> Callable[..., Competition]:
    """Return a function that makes a `Competition` in a temporary folder."""
    return lambda *args, **options: Competition(tmp_path / "other" / "work", *args, **options)
