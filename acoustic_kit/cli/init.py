"""`akit init`: make a workspace of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from acoustic_kit.api.progress import say
from acoustic_kit.cli.app import app
from acoustic_kit.cli.console import MAX_SEED, display_path, whole_numbers
from acoustic_kit.cli.data import print_summary

if TYPE_CHECKING:
    from acoustic_kit.workspace.workspace import Workspace

Text = str | None
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The workspace to make.")]
Data = Annotated[Path, typer.Option(help="Folder of the data set.")]
Layout = Annotated[str, typer.Option(help="Layout of the data set on disk; auto: detect it.")]
Metric = Annotated[
    Text, typer.Option(help="f1, roc_auc, map3, lwlrap, …, or a weighted sum; default: the competition's, else f1.")
]
TestFolds = Annotated[Text, typer.Option(metavar="9,10", help="Use these folds as the test set.")]
NFolds = Annotated[int | None, typer.Option(min=2, help="Number of folds to make if the data set has none (5).")]
FoldSeed = Annotated[int | None, typer.Option(min=0, max=MAX_SEED, help="Seed of the folds that are made (0).")]
Unofficial = Annotated[bool, typer.Option("--unofficial", help="Make folds although the data set has its own.")]
Extra = Annotated[
    Path | None,
    typer.Option(help="Another data set, or audio files without labels: used for training, never for validation."),
]
IdColumn = Annotated[Text, typer.Option(help="csv: column of ids.")]
LabelColumn = Annotated[Text, typer.Option(help="csv: column of labels.")]
AudioColumn = Annotated[Text, typer.Option(help="csv: column of file names.")]
GroupColumn = Annotated[Text, typer.Option(help="csv: clips with the same value are never divided between folds.")]
GroupPattern = Annotated[
    Text, typer.Option(metavar="REGEX", help="Find the group of a clip in its path: '([0-9a-f]+)_nohash'.")
]
Separator = Annotated[Text, typer.Option(help="csv: text between the labels of a clip; '' if each cell is one label.")]
TrainCsv = Annotated[Text, typer.Option(metavar="FILE", help="csv: table of training clips.")]
TestDir = Annotated[
    Text, typer.Option(metavar="DIR", help="csv, folder: folder of test clips, inside that of the data set.")
]
Where = Annotated[
    list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="Read only labeled clips with this value.")
]
SkipMissing = Annotated[bool, typer.Option("--skip-missing", help="Omit clips of a table whose files are missing.")]
Window = Annotated[float | None, typer.Option(metavar="SECONDS", help="Divide recordings into clips of this length.")]
Hop = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Time from the start of a window to the next; default: --window."),
]
IdFormat = Annotated[
    Text, typer.Option(metavar="TEXT", help="Ids of clips of recordings, with {stem} or {path}, {start} or {end}.")
]
StartColumn = Annotated[
    Text, typer.Option(help="csv: column of the times (s) at which labeled parts of recordings begin; '' if none.")
]
EndColumn = Annotated[Text, typer.Option(help="csv: column of the times (s) at which they end.")]
MinOverlap = Annotated[
    float, typer.Option(help="Label a window by a labeled part that overlaps it by this share of the shorter of both.")
]
WeightColumn = Annotated[
    Text, typer.Option(help="Column of weights of clips in losses; default: one called weight; '' if none.")
]
SecondaryOption = Annotated[
    Text, typer.Option("--secondary", metavar="USE", help="Secondary labels: positive, soft=0.3, mask or ignore.")
]
SecondaryColumn = Annotated[Text, typer.Option(help="Column of secondary labels; default: secondary_labels.")]
SoftTargets = Annotated[
    Text, typer.Option(metavar="FILE", help="Table of ids and a probability per class; empty cells are unknown.")
]
Mono = Annotated[Literal["mean", "left", "right"], typer.Option(help="How to mix several channels into one.")]


@app.command(epilog="Example: akit init work --data ESC-50 --test-folds 5 --metric f1")
def init(
    ctx: typer.Context,
    folder: Folder,
    data: Data,
    layout: Layout = "auto",
    metric: Metric = None,
    test_folds: TestFolds = None,
    n_folds: NFolds = None,
    fold_seed: FoldSeed = None,
    unofficial: Unofficial = False,
    extra: Extra = None,
    id_column: IdColumn = None,
    label_column: LabelColumn = None,
    audio_column: AudioColumn = None,
    group_column: GroupColumn = None,
    group_pattern: GroupPattern = None,
    label_separator: Separator = None,
    train_csv: TrainCsv = None,
    test_dir: TestDir = None,
    where: Where = None,
    skip_missing: SkipMissing = False,
    window: Window = None,
    hop: Hop = None,
    id_format: IdFormat = None,
    start_column: StartColumn = None,
    end_column: EndColumn = None,
    min_overlap: MinOverlap = 0.5,
    weight_column: WeightColumn = None,
    secondary: SecondaryOption = None,
    secondary_column: SecondaryColumn = None,
    soft_targets: SoftTargets = None,
    mono: Mono = "mean",
) -> None:
    """Make a workspace of a data set.

    Detects the layout, reads every clip, and writes akit.toml and the manifest. Prints what it guessed.
    """
    from acoustic_kit.api.start import init as init_workspace

    options = ctx.params | {"test_folds": whole_numbers("--test-folds", test_folds) if test_folds else []}
    workspace = init_workspace(options.pop("folder"), options.pop("data"), **options).files
    _print_workspace(workspace)
    say(f"\nNext: akit -C {folder} recipe run stats_pca_linear")


def _print_workspace(workspace: Workspace) -> None:
    from acoustic_kit.data import summarize
    from acoustic_kit.ensemble.competition import require_submittable
    from acoustic_kit.errors import AkitError

    say(f"Made the workspace {display_path(workspace.root)} (layout {workspace.config.layout}).")
    print_summary(summarize(workspace.manifest, workspace.config.classes))
    try:  # before anything is trained for a submission that cannot be written
        require_submittable(workspace, workspace.config.metric)
    except AkitError as error:
        say(f"Warning: no submission can be written: {error}.")
