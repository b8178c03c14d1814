"""Bundles for notebooks without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.api.blend import FittedBlend
from acoustic_kit.api.progress import progress as progress_bars
from acoustic_kit.api.runs import TrainedRun
from acoustic_kit.api.session import warn
from acoustic_kit.errors import UsageError
from acoustic_kit.prediction.bundle import make_bundle

if TYPE_CHECKING:
    from acoustic_kit.prediction.bundle import Bundle


def bundle(
    model: str | Path | TrainedRun | FittedBlend,
    out: str | Path,
    *,
    kaggle: str | None = None,
    competition: str | None = None,
    wheels: str | Path | None = None,
    folder: str | Path = ".",
    trust: bool = False,
    weights: str | Path | Sequence[str | Path] | None = None,
    progress: bool = True,
) -> Bundle:
    """Write a folder with which a notebook predicts without a network: models, wheels, script and notebook.

    >>> akit.bundle("submissions/first.json", "first_bundle", kaggle="me/first-bundle").path

    Parameters
    ----------
    model : a run's folder or a submission's JSON, or the name of one in the workspace that `folder` is in, or a file of
        `akit export`; a blend needs a record, which `name=…` writes
    out : the folder, new or empty
    kaggle : OWNER/SLUG of the data set as which it is uploaded, for the `kaggle` command
    competition : Kaggle's short name; default: `competition` in `akit.toml`
    wheels : a folder with the wheels that notebooks lack; default: they are downloaded by pip, from its index
    trust, weights : see `akit.predict`
    progress : show progress bars

    Raises UsageError for a name, a folder or wheels that do not fit, AkitError if a run cannot predict or wheels cannot
    be downloaded.

    """
    source = model.path if isinstance(model, TrainedRun) else model
    if isinstance(source, FittedBlend):
        if source.result.record is None:
            raise UsageError("The blend has no record, which a bundle needs: blend with a name.")
        source = source.result.record
    with progress_bars(progress) as bar:
        return make_bundle(
            source,
            Path(out),
            Path(folder),
            kaggle=kaggle,
            competition=competition,
            wheels=None if wheels is None else Path(wheels),
            trust=trust,
            weights=weights,
            on_note=warn,
            on_progress=bar,
        )
