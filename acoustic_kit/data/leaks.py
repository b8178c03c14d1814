"""Leaks between training and scored clips: equal files, divided groups, and extra clips that share either."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

SILENT_PEAK = 1e-3  # −60 dB of full scale; levels of quieter clips are not compared
SAME_SECONDS, SAME_LEVEL = 0.05, 0.05  # largest difference (s), and ratio − 1, between two encodings of a recording


def is_equal(clips: pl.DataFrame, others: pl.DataFrame) -> pl.Series:
    """Return whether the file of each clip equals that of one of `others`, byte for byte: bool (clips,)."""
    known = others["content"].unique()
    return clips["content"].is_in(known.filter(known != "").implode()).fill_null(False)


def shares_group(clips: pl.DataFrame, others: pl.DataFrame) -> pl.Series:
    """Return whether each clip shares its group (recording or speaker) with one of `others`: bool (clips,)."""
    return clips["group"].is_in(others["group"].drop_nulls().unique().implode()).fill_null(False)


def bias_of_fold(train: pl.DataFrame, valid: pl.DataFrame) -> list[str]:
    """Return the reasons why the score of a fold is biased upward by its training clips, one line each."""
    found = {
        "are equal to its training clips": is_equal(valid, train).sum(),
        "share a group (recording or speaker) with its training clips": shares_group(valid, train).sum(),
    }
    return [f"{n} of {len(valid)} clips that the fold is scored on {what}" for what, n in found.items() if n]


def leak_warnings(manifest: pl.DataFrame) -> list[str]:
    """Return warnings about scores on this manifest, one text per finding; empty if nothing is shared."""
    import polars as pl

    clips = {split: manifest.filter(pl.col("split") == split) for split in ("train", "test", "extra")}
    findings = (_divided_folds(manifest), _in_test(clips), _copies(clips["train"]), _extra(clips), _similar(clips))
    return [line for finding in findings for line in finding]


def divided_groups(manifest: pl.DataFrame, column: str = "group") -> pl.DataFrame:
    """Return the values of a column that are in several folds, with `id` and `fold` of the first clip in each."""
    import polars as pl

    return (
        manifest.filter(pl.col("fold").is_not_null() & pl.col(column).is_not_null() & (pl.col(column) != ""))
        .unique([column, "fold"], keep="first", maintain_order=True)
        .group_by(column, maintain_order=True)
        .agg("id", "fold")
        .filter(pl.col("id").list.len() > 1)
    )


def _divided_folds(manifest: pl.DataFrame) -> Iterator[str]:
    divided = divided_groups(manifest)
    if len(divided):
        group, clips, folds = divided.row(0)
        yield (
            f"the folds divide {len(divided)} groups (recordings or speakers), so that every score is optimistic: "
            f"{clips[0]} and {clips[1]} of group {group} are in folds {folds[0]} and {folds[1]}.\n"
            "`akit init --unofficial` makes folds that do not divide groups."
        )


def _in_test(clips: dict[str, pl.DataFrame]) -> Iterator[str]:
    """Test clips that share a group or content with training clips."""
    for mask, what in ((shares_group, "share a group (recording or speaker) with"), (is_equal, "are equal to")):
        shared = clips["test"].filter(mask(clips["test"], clips["train"]))
        if len(shared):
            yield (
                f"{len(shared)} of {len(clips['test'])} test clips {what} training clips, so that their score is "
                f"optimistic; the first is {shared['id'][0]}."
            )


def _copies(train: pl.DataFrame) -> Iterator[str]:
    """Training clips of equal content: in several folds, or in one."""
    import polars as pl

    copies = train.filter((pl.col("content") != "") & pl.struct("content", "start", "end").is_duplicated())
    if not len(copies):
        return
    divided, files = divided_groups(train, "content"), copies["content"].n_unique()
    if len(divided):
        ids, folds = divided.row(0)[1:]
        yield (
            f"{len(divided)} files have copies in several folds, so that every score is optimistic: {ids[0]} and "
            f"{ids[1]} are equal, in folds {folds[0]} and {folds[1]}."
        )
    else:
        yield f"{len(copies)} training clips are copies of {files} files; equal clips share a fold, and all are scored."


def _extra(clips: dict[str, pl.DataFrame]) -> Iterator[str]:
    """Extra clips that are excluded from folds, see `folds.training_rows`."""
    import polars as pl

    extra, others = clips["extra"], pl.concat([clips["train"], clips["test"]])
    equal, grouped = is_equal(extra, others), shares_group(extra, others)
    if (equal | grouped).any():
        yield (
            f"{equal.sum()} extra clips are equal to training or test clips, and {(grouped & ~equal).sum()} more share "
            f"a group (recording or speaker) with one; the first is {extra.filter(equal | grouped)['id'][0]}.\n"
            "Models are not trained on such a clip if the other is held out, as their score would be optimistic."
        )


def _similar(clips: dict[str, pl.DataFrame]) -> Iterator[str]:
    """Extra clips that may be other encodings of training or test clips, whose bytes differ."""
    import polars as pl

    others = pl.concat([clips["train"], clips["test"]])
    extra = clips["extra"].filter(~(is_equal(clips["extra"], others) | shares_group(clips["extra"], others)))
    columns = ["id", "path", "sample_rate", "duration", "peak", "rms"]
    named = [
        frame.select(columns)
        .filter(pl.col("peak") >= SILENT_PEAK)
        .with_columns(stem=pl.col("path").str.replace(r"^.*/", "").str.replace(r"\.[^.]*$", "").str.to_lowercase())
        for frame in (extra, others)
    ]
    levels = named[0].join(named[1], on=["sample_rate", "duration", "peak", "rms"])
    names = (
        named[0]
        .join(named[1], on="stem", suffix="_right")
        .filter(
            ((pl.col("duration") - pl.col("duration_right")).abs() < SAME_SECONDS)
            & ((pl.col("rms") / pl.col("rms_right") - 1).abs() < SAME_LEVEL)
        )
    )
    pairs = pl.concat([levels.select("id", "id_right"), names.select("id", "id_right")])
    if len(pairs):
        yield (
            f"{pairs['id'].n_unique()} extra clips may be training or test clips in another encoding: {pairs['id'][0]} "
            f"resembles {pairs['id_right'][0]} in name or level. If so, every score is optimistic, as models are "
            "trained on them. Leave such clips out of --extra."
        )
