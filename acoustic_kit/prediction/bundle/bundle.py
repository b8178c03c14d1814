"""Bundles: a folder with all that predicts in a notebook without a network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from acoustic_kit.data.archives import new_folder, require_new
from acoustic_kit.errors import RunError
from acoustic_kit.files import file_sha256
from acoustic_kit.prediction.bundle.contents import copy_models, reads_estimators
from acoustic_kit.prediction.bundle.image import Image
from acoustic_kit.prediction.bundle.notebook import KaggleName, readme, write_kaggle_files, write_notebook
from acoustic_kit.prediction.bundle.wheels import collect_wheels, write_own_wheel
from acoustic_kit.prediction.engine import is_exported
from acoustic_kit.prediction.models import Predictor, locate, open_predictor
from acoustic_kit.prediction.onnx_graphs import open_file
from acoustic_kit.prediction.saved_models import ESTIMATOR, TENSORS
from acoustic_kit.submission.record import read_record
from acoustic_kit.workspace.workspace import Workspace

DIGESTS = "SHA256SUMS"
_TEMPLATE = "sample_submission.csv"
_MODELS = {TENSORS, ESTIMATOR}

OnNote = Callable[[str], None]
OnProgress = Callable[[str, int, int], object]


@dataclass(frozen=True)
class Bundle:
    """A folder that predicts without a network."""

    path: Path
    model: str  # the submission's JSON, the run's folder or the exported file in it
    competition: str | None  # Kaggle's short name, if it is known

    def files(self) -> dict[str, list[Path]]:
        """Return the files by part: weights, wheels, rest."""
        found: dict[str, list[Path]] = {"weights": [], "wheels": [], "rest": []}
        for path in sorted(path for path in self.path.rglob("*") if path.is_file()):
            top = path.relative_to(self.path).parts[0]
            is_model = path.name in _MODELS or path.suffix == ".onnx"
            part = "weights" if is_model or top == "weights" else top
            found[part if part in found else "rest"].append(path)
        return found


def make_bundle(
    what: str | Path,
    out: Path,
    folder: Path = Path(),
    *,
    kaggle: str | None = None,
    competition: str | None = None,
    wheels: Path | None = None,
    trust: bool = False,
    weights: str | Path | Sequence[str | Path] | None = None,
    on_note: OnNote = lambda _: None,
    on_progress: OnProgress = lambda *_: None,
) -> Bundle:
    """Write a folder with which a notebook predicts without a network: models, wheels, script, notebook.

    Parameters
    ----------
    what : an argument of `open_predictor`, or a file of `akit export`
    folder, trust, weights : see `open_predictor`
    out : the folder, new or empty
    kaggle : OWNER/SLUG of the data set as which it is uploaded
    competition : Kaggle's short name of the competition; None: that of the workspace
    wheels : a folder with the wheels that the image lacks; None downloads them
    on_note : called with messages for the user
    on_progress : called with what is collected, how many are done, and all

    Raises UsageError for a name, a folder or wheels that do not fit, AkitError if a run cannot predict or wheels cannot
    be downloaded.

    """
    require_new(out)
    name = None if kaggle is None else KaggleName.parse(kaggle)
    places = [str(weights)] if isinstance(weights, str | Path) else list(map(str, weights or ()))
    predictor, workspace = None, Workspace.around(folder)
    if is_exported(what):
        open_file(source := Path(what))
    else:
        predictor = open_predictor(what, folder, trust=trust, weights=places, on_note=on_note)
        source = locate(what, folder)
    image = Image.listed()
    needed = _needed(image, predictor, places)
    competition = competition or (workspace.config.competition if workspace else None)
    template = workspace.config.template if workspace else None
    with new_folder(out) as draft:
        (draft / "wheels").mkdir()
        collect_wheels(needed, image, draft / "wheels", wheels, on_progress)
        write_own_wheel(draft / "wheels")
        model, pretrained = _write_model(draft, source, predictor, places)
        needs_trust = predictor is not None and _needs_trust(draft, model, pretrained)
        write_notebook(draft, model, Path(template or _TEMPLATE).name, pretrained, trust=needs_trust)
        if name is not None:
            write_kaggle_files(draft, name, competition)
        (draft / "README.txt").write_text(readme(name, competition, model), "utf-8")
        _write_digests(draft)
    if needs_trust:
        on_note("Recipes or types of models are not part of akit: the notebook runs those of the bundle (--trust).")
    members = predictor.members if predictor else ()
    if columns := sorted({column for m in members for column in m.recipe.needs(m.settings).columns}):
        on_note(f"The recipes read {', '.join(columns)}: in the notebook, set OPTIONS = ['--table', PATH].")
    return Bundle(out, model, competition)


def _needed(image: Image, predictor: Predictor | None, places: Sequence[str]) -> dict[str, str]:
    """Return the packages that a predictor, or an exported file, needs and the image lacks."""
    if predictor is None:
        return image.lacks(is_exported=True, also=["onnxruntime"])
    also = ["onnx", "onnxruntime"] if any(Path(place).suffix == ".onnx" for place in places) else []
    return image.lacks(with_estimators=reads_estimators(predictor), also=also)


def _write_model(
    draft: Path, source: Path, predictor: Predictor | None, places: Sequence[str]
) -> tuple[str, list[str]]:
    """Copy an exported file, a run, or a blend with its runs; return its place, and those of pretrained models."""
    if predictor is None:
        shutil.copyfile(source, draft / source.name)
        return source.name, []
    pretrained = copy_models(predictor, draft, places)
    if source.is_dir():
        return f"runs/{source.name}", pretrained
    record = read_record(source)
    template = record.template and Path(record.template).name  # not its path on this machine
    record.model_copy(update={"template": template}).write(draft / source.name)
    return source.name, pretrained


def _needs_trust(draft: Path, model: str, pretrained: Sequence[str]) -> bool:
    """Open the models of a bundle as its notebook does, and return whether that needs `--trust`.

    Raises RunError if they cannot be opened at all.
    """
    outside = Path(draft.anchor)  # in no workspace, as on another machine
    places = [draft / place for place in pretrained]
    try:
        open_predictor(draft / model, outside, weights=places)
    except RunError:
        open_predictor(draft / model, outside, weights=places, trust=True)
        return True
    return False


def _write_digests(draft: Path) -> None:
    names = sorted(path.relative_to(draft).as_posix() for path in draft.rglob("*") if path.is_file())
    lines = [f"{file_sha256(draft / name)}  {name}\n" for name in names]
    (draft / DIGESTS).write_text("".join(lines), "utf-8")
