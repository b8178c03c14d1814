"""Make or open a workspace, or download a data set for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.api.open_workspace import OpenWorkspace
from acoustic_kit.api.progress import megabytes
from acoustic_kit.api.progress import progress as progress_bars
from acoustic_kit.api.session import warn, warn_of_leaks
from acoustic_kit.data import CsvOptions
from acoustic_kit.data.download import download_data_set, find_data_set
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace

if TYPE_CHECKING:
    from acoustic_kit.dsp.sound_file import Mono


def init(
    folder: str | Path,
    data: str | Path,
    *,
    layout: str = "auto",
    metric: str | None = None,
    test_folds: Sequence[int] = (),
    n_folds: int | None = None,
    fold_seed: int | None = None,
    unofficial: bool = False,
    extra: str | Path | None = None,
    id_column: str | None = None,
    label_column: str | None = None,
    audio_column: str | None = None,
    group_column: str | None = None,
    group_pattern: str | None = None,
    label_separator: str | None = None,
    train_csv: str | Path | None = None,
    test_dir: str | None = None,
    where: Mapping[str, object] | Sequence[str] | None = None,
    skip_missing: bool = False,
    window: float | None = None,
    hop: float | None = None,
    id_format: str | None = None,
    start_column: str | None = None,
    end_column: str | None = None,
    min_overlap: float = 0.5,
    weight_column: str | None = None,
    secondary: str | None = None,
    secondary_column: str | None = None,
    soft_targets: str | Path | None = None,
    mono: Mono = "mean",
    progress: bool = True,
) -> OpenWorkspace:
    """Make a workspace of a data set: detect its layout, read every clip, write `akit.toml` and the manifest.

    >>> ws = akit.init("work", data="clips", metric="f1")

    Parameters
    ----------
    folder : the workspace to make
    data : the folder of the data set
    layout : a name in `acoustic_kit.data.LAYOUTS`, or `auto`
    metric : accuracy, balanced_accuracy, f1, map3, map, …, or a weighted sum such as `0.8*accuracy+0.2*f1`; default:
        that of the competition, if the layout is of one, else f1
    test_folds : folds that are held out as the test set; only `OpenWorkspace.score` reads their labels
    n_folds, fold_seed : the folds to make if there are none; default: 5 folds, seed 0
    unofficial : make folds although the data set has its own
    extra : another data set, or a folder of audio files without labels: used for training but never for validation;
        unlabeled clips only with pseudo-labels
    id_column, label_column, audio_column, group_column : columns of a CSV, if guessing fails
    group_pattern : a regular expression that finds the group of a clip in its path
    label_separator : between several labels of one clip; an empty string if each cell is one label
    train_csv : the table of training clips, in the data set or elsewhere
    test_dir : the folder of test clips, in the data set's
    where : read only the labeled clips that have these values, by column: `{"esc10": True}`; or several values of a
        column, `["fold=1", "fold=2"]`
    skip_missing : leave out clips that a table names and that are missing on disk
    window, hop : divide recordings into clips of `window` seconds, one every `hop` seconds (default: `window`)
    id_format : ids of clips of recordings, with `{stem}` or `{path}`, and `{start}` or `{end}`; default `{stem}_{end}`
    start_column, end_column : columns of a CSV of labeled parts of recordings, in seconds, if guessing fails; an empty
        string if a CSV has none
    min_overlap : a window has the label of a part that overlaps it by this share of the shorter of both, in (0, 1]
    weight_column : column of the weights of clips in losses; default: one called `weight`; an empty string if none
    secondary, secondary_column : what labels in the column `secondary_labels` become: `positive`, `soft=0.3`, `mask`
        (unknown) or `ignore`
    soft_targets : table of ids and a probability per class; an empty cell is an unknown target
    mono : the channel from which features are computed: `mean`, `left` or `right`
    progress : see `OpenWorkspace`

    Guesses are reported as warnings (`AkitWarning`).

    Raises
    ------
    UsageError : `folder` is a workspace already, or options contradict each other
    AkitError : the data set cannot be read

    """
    options = CsvOptions(
        id_column=id_column,
        label_column=label_column,
        audio_column=audio_column,
        group_column=group_column,
        label_separator=label_separator,
        train_csv=None if train_csv is None else _table(Path(data), train_csv),
        test_dir=test_dir,
        group_pattern=group_pattern,
        where=tuple(f"{k}={v}" for k, v in where.items()) if isinstance(where, Mapping) else tuple(where or ()),
        skip_missing=skip_missing,
        windows=CsvOptions.asked_windows(window, hop, id_format),
        id_format=id_format,
        start_column=start_column,
        end_column=end_column,
        min_overlap=min_overlap,
        weight_column=weight_column,
        secondary=secondary,
        secondary_column=secondary_column,
        soft_targets=None if soft_targets is None else str(soft_targets),
    )
    with progress_bars(progress) as bar:
        workspace = init_workspace(
            Path(folder),
            Path(data),
            layout=layout,
            metric=metric,
            test_folds=test_folds,
            n_folds=n_folds,
            fold_seed=fold_seed,
            unofficial=unofficial,
            extra=None if extra is None else Path(extra),
            options=options,
            mono=mono,
            on_progress=lambda done, total: bar("clips", done, total),
            on_note=warn,
        )
    warn_of_leaks(workspace)
    return OpenWorkspace(workspace.root, progress=progress)


def _table(data: Path, path: str | Path) -> str:
    """Return the path of a table: as it is if it is in the data set, else absolute."""
    return str(path) if (data / path).exists() else str(Path(path).resolve())


def open_workspace(folder: str | Path = ".", *, progress: bool = True) -> OpenWorkspace:
    """Open the workspace that a folder is in: the nearest one upwards that holds `akit.toml`.

    >>> ws = akit.open_workspace("work")

    - `progress`: see `OpenWorkspace`

    Raises AkitError if there is none.
    """
    return OpenWorkspace(Workspace.find(Path(folder)).root, progress=progress)


def download(
    name: str, folder: str | Path | None = None, *, keep_archives: bool = False, progress: bool = True
) -> Path:
    """Download a public data set, check it and unpack it; return the folder that `init` reads.

    >>> ws = akit.init("work", data=akit.download("esc50"))

    Parameters
    ----------
    name : such as `esc50` or `urbansound8k`
    folder : to make; default: the data set's own name, in the current folder
    keep_archives : keep the downloaded files in `<folder>.download`
    progress : show progress bars

    Raises UsageError for an unknown name, AkitError if the download fails; the same call resumes it.

    """
    with progress_bars(progress) as bar:
        return download_data_set(
            find_data_set(name),
            None if folder is None else Path(folder),
            keep_archives=keep_archives,
            on_progress=megabytes(bar),
            on_note=warn,
        )
