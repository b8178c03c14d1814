"""The manifest: one row per clip, with label, fold, split and properties of the audio file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from acoustic_kit.data.audio_files import safe_path
from acoustic_kit.data.dataset import Dataset
from acoustic_kit.data.extra import extra_clips
from acoustic_kit.data.folds import make_folds
from acoustic_kit.data.scan import scan_audio
from acoustic_kit.data.schema import clip_schema, manifest_schema, span_column
from acoustic_kit.dsp.sound_file import Mono
from acoustic_kit.errors import DataError, UsageError
from acoustic_kit.task import Task

if TYPE_CHECKING:
    import polars as pl


def make_manifest(
    dataset: Dataset,
    *,
    test_folds: Sequence[int] = (),
    n_folds: int | None = None,
    fold_seed: int | None = None,
    unofficial: bool = False,
    extra: Dataset | None = None,
    mono: Mono = "mean",
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Assign folds to the training clips, hold out test folds, add extra clips, and scan every file once.

    >>> manifest, truth = make_manifest(read_dataset(Path("ESC-50")), test_folds=[5])

    Parameters
    ----------
    test_folds : folds whose clips become the test set
    n_folds, fold_seed : for folds that akit makes; None is 5 and 0
    unofficial : make folds although the data set has its own
    extra : another data set whose clips become `split` "extra", with ids `extra/<id>` and absolute paths, see
        `extra_clips`
    mono : how channels are mixed before levels are measured
    on_progress : called with the number of files scanned and of all files

    Returns
    -------
    manifest : DataFrame, columns of `manifest_schema`, then the data set's own
    truth : DataFrame (`id`, `label`), the labels of test clips if they are known; the manifest does not contain them

    Raises
    ------
    UsageError : for invalid folds: `n_folds` or `fold_seed` for official folds without `unofficial`, test folds that do
        not exist, leave fewer than two, or are given for a data set with test clips of its own
    DataError : for a single class, a class with fewer clips (or groups) than folds, a class that only `extra` has, and
        a data set without any readable audio file

    """
    import polars as pl

    if len(dataset.classes) < 2:
        raise DataError(f"{dataset.root} has only the class {next(iter(dataset.classes))!r}; at least two are needed.")

    def with_folds(content: pl.Series | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
        clips = _assign_folds(dataset, n_folds, fold_seed, content, unofficial=unofficial)
        return without_test_labels(dataset, _hold_out(dataset, clips, test_folds), extra)

    clips, truth = with_folds()
    scanned = scan_audio([dataset.root / path for path in clips["path"]], on_progress, mono, span_column(clips))
    if scanned["problem"].null_count() == 0:
        path, problem = clips["path"][0], scanned["problem"][0]
        raise DataError(f"none of the {len(clips)} files in {dataset.root} can be read; {path}: {problem}.")
    content = scanned["content"].head(len(dataset.clips))
    files = dataset.clips.select("path", content=content).filter(content != "").unique()
    if files["content"].is_duplicated().any():
        clips, truth = with_folds(content)  # equal clips share a fold if akit makes the folds
    common = list(clip_schema())
    manifest = pl.concat([clips.select(common), scanned, clips.drop(common)], how="horizontal")
    check_manifest(manifest, dataset.classes, dataset.task)
    return manifest, truth


def without_test_labels(
    dataset: Dataset, clips: pl.DataFrame, extra: Dataset | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the clips, extra ones included, without labels of test clips, and those labels.

    Own columns that imply the label are emptied for test clips too. Raises DataError for extra clips of other classes.
    """
    import polars as pl

    is_test = pl.col("split") == "test"
    held_out = dataset.clips.filter(pl.col("split") == "train")["id"].to_list()  # labeled, if with no class
    is_labeled = (pl.col("label").list.len() > 0) | pl.col("id").is_in(held_out)
    if dataset.task == "multi":
        is_labeled |= pl.col("soft").is_not_null()
    soft = pl.when(pl.col("soft").list.len() > 0).then("soft")
    truth = clips.filter(is_test & is_labeled).select("id", "label", soft)
    if truth["soft"].null_count() == len(truth):
        truth = truth.drop("soft")
    clips = clips.with_columns(
        weight=pl.when(~is_test).then("weight"),
        soft=pl.when(~is_test).then("soft"),
        label=pl.when(is_test).then(pl.lit([], dtype=pl.List(pl.String))).otherwise("label"),
        fold=pl.when(pl.col("split") == "train").then("fold"),
        **{name: pl.when(~is_test).then(name) for name in _label_columns(clips)},
    )
    if extra is not None:
        clips = pl.concat([clips, extra_clips(dataset, extra)], how="diagonal")
    return clips, truth


def check_manifest(manifest: pl.DataFrame, classes: Collection[str], task: Task = "single") -> None:
    """Raise DataError, which names the column or clip, if a manifest does not fulfill `manifest_schema`.

    Extra clips may have no label and, with `task` "multi", training clips.
    """
    import polars as pl

    if not len(manifest):
        raise DataError("the manifest has no clips.")
    for name, dtype in manifest_schema().items():
        if (found := manifest.schema.get(name)) != dtype:
            raise DataError(f"the manifest's column {name!r} should be {dtype} and is {found or 'missing'}.")
    is_train, n_labels = pl.col("split") == "train", pl.col("label").list.len()
    known = pl.col("label").list.set_difference(pl.lit(list(classes), dtype=pl.List(pl.String))).list.len() == 0
    unreadable = pl.col("problem").is_not_null()
    rules = {
        "has no id": pl.col("id").str.len_bytes() > 0,
        "has the id of another clip": pl.col("id").is_unique(),
        "has no path, or one that leaves the data root": pl.col("path").map_elements(_is_safe, return_dtype=pl.Boolean)
        | (pl.col("split") == "extra"),
        "has a split other than train, test and extra": pl.col("split").is_in(["train", "test", "extra"]),
        "is a training clip without a fold, or another with one": is_train == pl.col("fold").is_not_null(),
        "is a test clip with a label, or another clip without one": pl.when(pl.col("split") == "test")
        .then(n_labels == 0)
        .otherwise((n_labels > 0) | (pl.col("split") == "extra") | pl.lit(task == "multi")),
        "has a label that is not a class": known,
        "has neither a length nor a problem": unreadable == pl.col("duration").is_null(),
        "has a start without an end, or not before it": pl.col("start").is_null() & pl.col("end").is_null()
        | (pl.col("start") >= 0) & (pl.col("start") < pl.col("end")),
        "has a weight that is not above 0": pl.col("weight").is_null()
        | (pl.col("weight") > 0) & pl.col("weight").is_finite(),
        **_soft_rules(classes, task),
    }
    for rule, holds in rules.items():
        broken = manifest.filter(~holds.fill_null(False))
        if len(broken):
            raise DataError(f"the manifest is damaged: {len(broken)} clips, first {broken['id'][0]!r}: {rule}.")


def _soft_rules(classes: Collection[str], task: Task) -> dict[str, pl.Expr]:
    """Return what must hold for the column `soft` of clips that have one, as `check_manifest` does."""
    import polars as pl

    soft, target = pl.col("soft"), pl.element().struct.field("target")

    def names(chosen: pl.Expr | None = None) -> pl.Expr:
        cells = pl.element() if chosen is None else pl.element().filter(chosen)
        return soft.list.eval(cells.struct.field("label"))

    unknown = names().list.set_difference(pl.lit(list(classes), dtype=pl.List(pl.String)))
    valid = soft.list.eval(target.is_null() | target.is_between(0, 1)).list.all()
    likely, unlikely = names(target > 0.5), names(target < 0.5)
    agrees = likely.list.set_difference("label").list.len() == 0
    if task == "multi":
        agrees &= unlikely.list.set_intersection("label").list.len() == 0
    rules = {
        "has a soft target of a name that is not a class": unknown.list.len() == 0,
        "has two soft targets of one class": names().list.n_unique() == names().list.len(),
        "has a soft target that is not between 0 and 1": valid,
        "has labels that contradict its soft targets": agrees,
    }
    return {rule: soft.is_null() | holds for rule, holds in rules.items()}


def _is_safe(path: str) -> bool:
    try:
        return path != "" and safe_path(path, "") != ""
    except DataError:
        return False


def _assign_folds(
    dataset: Dataset, n_folds: int | None, seed: int | None, content: pl.Series | None, *, unofficial: bool
) -> pl.DataFrame:
    """Return the clips with a fold for each training clip: the official one, or one that is drawn."""
    import polars as pl

    if dataset.official_folds and not unofficial:
        if n_folds is not None or seed is not None:
            raise UsageError(
                "this data set has official folds. Scores on other folds are optimistic: clips of one recording are in "
                "several folds (UrbanSound8K: 98 % against 84 %).\n"
                "Leave out --n-folds and --fold-seed, or insist with --unofficial."
            )
        return dataset.clips
    clips = dataset.clips if content is None else dataset.clips.with_columns(content=content)
    train = clips.filter(pl.col("split") == "train")
    folds = make_folds(train, 5 if n_folds is None else n_folds, seed or 0, dataset.task)
    return dataset.clips.with_columns(fold=pl.col("id").replace_strict(folds, default=None, return_dtype=pl.Int64))


def _hold_out(dataset: Dataset, clips: pl.DataFrame, test_folds: Sequence[int]) -> pl.DataFrame:
    """Return the clips, those of the test folds with `split` "test"."""
    import polars as pl

    folds = set(clips["fold"].drop_nulls())
    listed = ", ".join(map(str, sorted(folds)))
    if test_folds and "test" in clips["split"]:
        raise UsageError(f"{dataset.root} has test clips of its own, so no test folds can be held out.")
    if unknown := sorted(set(test_folds) - folds):
        raise UsageError(f"there is no fold {unknown[0]}; the folds are {listed}.")
    if (remain := len(folds - set(test_folds))) < 2:
        raise UsageError(f"{remain} of the folds {listed} would remain for training and validation; two are needed.")
    return clips.with_columns(
        split=pl.when(pl.col("fold").is_in(list(test_folds))).then(pl.lit("test")).otherwise("split")
    )


def _label_columns(clips: pl.DataFrame) -> list[str]:
    """Return the data set's own columns that imply the label: each of their values occurs with one label only.

    Columns in which most values occur once (a title, a time) are excluded, as they do so by chance.
    """
    import polars as pl

    labelled = clips.filter(pl.col("label").list.len() > 0).with_columns(pl.col("label").list.join("\0"))
    return [
        name
        for name in clips.columns
        if name not in clip_schema()
        and 1 < (values := labelled[name].n_unique()) < len(labelled) / 2
        and labelled.select(name, "label").n_unique() == values
    ]
