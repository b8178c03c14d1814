"""Summary of a manifest, and its odd clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acoustic_kit.data.leaks import SILENT_PEAK, divided_groups
from acoustic_kit.data.schema import is_unlabeled
from acoustic_kit.data.split_comparison import Comparison, compare_splits
from acoustic_kit.data.target_summary import TargetSummary, summarize_targets

if TYPE_CHECKING:
    import polars as pl

CLIPPED_PEAK = 0.999  # full scale (the largest sample of a 16-bit file is 0.99997)
SHORT_SECONDS = 0.1


@dataclass(frozen=True)
class Durations:
    """Durations of the readable clips, in seconds."""

    min: float
    median: float
    max: float


@dataclass(frozen=True, eq=False)
class Summary:
    """Summary of a manifest."""

    clips: dict[str, int]  # split → number of clips; `unlabeled`: extra clips without labels
    recordings: dict[str, int]  # split → number of files, if clips are parts of them; else empty
    classes: pl.DataFrame  # class, index (the data set's own), train (clips), seconds (of them); in class order
    durations: Durations | None  # None if no clip can be read
    sample_rates: dict[int, int]  # Hz → clips
    channels: dict[int, int]  # channels → clips
    folds: dict[int, int]  # fold → training clips
    targets: TargetSummary  # of the clips that are not test clips
    problems: list[str]  # one line each
    comparison: list[Comparison]  # of training and test clips; empty without test clips

    @property
    def differences(self) -> list[str]:
        """What differs between training and test clips, one line each."""
        return [one.line for one in self.comparison if one.differs]


def summarize(manifest: pl.DataFrame, classes: Mapping[str, int]) -> Summary:
    """Summarize a manifest, and describe its problems in a line each."""
    import polars as pl

    lengths = manifest["duration"].drop_nulls()
    durations = None
    if len(lengths):
        shortest, median, longest = manifest.select(
            shortest=pl.col("duration").min(), median=pl.col("duration").median(), longest=pl.col("duration").max()
        ).row(0)
        durations = Durations(shortest, median, longest)
    table = _class_table(manifest, classes)
    is_extra = (pl.col("split") == "extra") & is_unlabeled()
    kind = pl.when(is_extra).then(pl.lit("unlabeled")).otherwise("split").alias("kind")
    counts = manifest.group_by(kind).agg(clips=pl.len(), files=pl.col("path").n_unique())
    splits = {split: numbers for split, *numbers in counts.iter_rows()}
    in_order = [split for split in ("train", "test", "extra", "unlabeled") if split in splits]
    has_parts = manifest["start"].is_not_null().any()
    return Summary(
        clips={split: splits[split][0] for split in in_order},
        recordings={split: splits[split][1] for split in in_order if has_parts},
        classes=table,
        durations=durations,
        sample_rates=_count(manifest["sample_rate"]),
        channels=_count(manifest["channels"]),
        folds=_count(manifest["fold"]),
        targets=summarize_targets(manifest.filter(pl.col("split") != "test")),
        problems=_problems(manifest, table),
        comparison=compare_splits(manifest),
    )


def odd_clips(manifest: pl.DataFrame) -> pl.DataFrame:
    """Return unusual clips: `id` and `what`, one row per finding, in the manifest's order.

    `what` is "unreadable: <reason>", "silent" (peak below −60 dB after the channels are mixed), "clipped" (reaches full
    scale), "too short" (under 0.1 s) or "same content as <id>" (as the same part of an equal file before).
    """
    import polars as pl

    readable = pl.col("content") != ""
    first = pl.when(readable).then(pl.col("id").first().over("content", "start", "end"))
    kinds = {
        "unreadable": "unreadable: " + pl.col("problem"),
        "silent": pl.when(pl.col("peak") < SILENT_PEAK).then(
            pl.when(pl.col("channels") > 1)
            .then(pl.format("silent once its {} channels are mixed", "channels"))
            .otherwise(pl.lit("silent"))
        ),
        "clipped": pl.when(pl.col("peak") >= CLIPPED_PEAK).then(pl.lit("clipped")),
        "too short": pl.when(pl.col("duration") < SHORT_SECONDS).then(pl.lit("too short")),
        "same": pl.when(first != pl.col("id")).then("same content as " + first),
    }
    return (
        manifest.select("id", what=pl.concat_list(list(kinds.values())).list.drop_nulls())
        .explode("what")
        .drop_nulls("what")
    )


def _class_table(manifest: pl.DataFrame, classes: Mapping[str, int]) -> pl.DataFrame:
    import polars as pl

    counts = (
        manifest.filter(pl.col("split") == "train")
        .explode("label")
        .group_by(pl.col("label").alias("class"))
        .agg(train=pl.len().cast(pl.Int64), seconds=pl.col("duration").sum())
    )
    order = pl.DataFrame({"class": list(classes), "index": list(classes.values())})
    return order.join(counts, on="class", how="left", maintain_order="left").with_columns(
        pl.col("train", "seconds").fill_null(0)
    )


def _count(values: pl.Series) -> dict[int, int]:
    return dict(values.drop_nulls().value_counts().sort(values.name).iter_rows())


def _problems(manifest: pl.DataFrame, class_table: pl.DataFrame) -> list[str]:
    import polars as pl

    odd = odd_clips(manifest)
    lines = []
    for start, text in (
        ("unreadable", "clips that cannot be read"),
        ("silent", "silent clips"),
        ("too short", "clips shorter than 0.1 s"),
    ):
        some = odd.filter(pl.col("what").str.starts_with(start))
        if len(some):
            reason = some["what"][0].partition(": ")[2]
            lines.append(_line(text, some["id"]) + (f": {reason}" if reason else ""))
    return lines + _leaks(manifest) + _gaps(manifest, class_table)


def _leaks(manifest: pl.DataFrame) -> list[str]:
    """Describe groups that the folds divide, and equal files in different folds or splits or with different labels."""
    import polars as pl

    twins = (
        manifest.filter(pl.col("content") != "")
        .group_by("content", "start", "end", maintain_order=True)
        .agg(
            "id",
            sides=pl.struct("split", "fold").n_unique(),
            labels=pl.col("label").filter(pl.col("label").list.len() > 0).list.join("\0").n_unique(),
        )
        .filter(pl.col("id").list.len() > 1)
    )
    lines = []
    divided = divided_groups(manifest)
    if len(divided):
        ids, folds = divided.row(0)[1:]
        example = f"{ids[0]} in fold {folds[0]}, {ids[1]} in fold {folds[1]}"
        lines.append(_line("groups that the folds divide", divided["group"]) + f": {example}")
    for column, text in (("sides", "in different folds or splits"), ("labels", "with different labels")):
        some = twins.filter(pl.col(column) > 1)
        if len(some):
            lines.append(_line(f"clips of equal content {text}", some["id"].explode()))
    return lines


def _gaps(manifest: pl.DataFrame, class_table: pl.DataFrame) -> list[str]:
    """Describe classes without training clips, and classes missing in some folds."""
    import polars as pl

    n_folds = manifest["fold"].drop_nulls().n_unique()
    folds_of_class = (
        manifest.filter(pl.col("fold").is_not_null())
        .explode("label")
        .group_by("label", maintain_order=True)
        .agg(n=pl.col("fold").n_unique())
    )
    lines = []
    for text, some in (
        ("classes without a training clip", class_table.filter(pl.col("train") == 0)["class"]),
        ("classes missing in some fold", folds_of_class.filter(pl.col("n") < n_folds)["label"]),
    ):
        if len(some):
            lines.append(_line(text, some))
    return lines


def _line(text: str, names: pl.Series) -> str:
    """Return a line such as `silent clips: 4 (a, b, c, …)`."""
    return f"{text}: {len(names)} ({', '.join(names.head(3))}{', …' if len(names) > 3 else ''})"
