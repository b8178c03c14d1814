from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from acoustic_kit.data.folds import FULL, training_rows
from acoustic_kit.data.leaks import bias_of_fold, leak_warnings
from acoustic_kit.data.manifest import manifest_schema
from acoustic_kit.data.targets import clip_groups


def manifest(*clips: tuple[str, str, int | None, str | None, str], **columns: Sequence[Any]) -> pl.DataFrame:
    """Clips of (id, split, fold, group, content), each with levels of its own."""
    n, names = len(clips), ["id", "split", "fold", "group", "content"]
    rows: dict[str, Any] = {name: [clip[i] for clip in clips] for i, name in enumerate(names)}
    rows |= {
        "path": [f"{id}.wav" for id in rows["id"]],
        "label": [[] if split == "test" else ["a"] for split in rows["split"]],
        "duration": [1.0] * n,
        "sample_rate": [8000] * n,
        "channels": [1] * n,
        "peak": [0.5] * n,
        "rms": (0.1 * 1.1 ** np.arange(n)).tolist(),
        "size": [1] * n,
        "mtime_ns": [0] * n,
        "problem": [None] * n,
    }
    schema = manifest_schema()
    return pl.DataFrame({name: (rows | columns).get(name) for name in schema}, schema=schema)


CLEAN = (("t1", "train", 1, "g1", "c1"), ("t2", "train", 2, "g2", "c2"), ("t3", "train", 2, None, "c3"))


def test_a_clean_manifest_has_no_warnings_and_leaves_nothing_out() -> None:
    rows = manifest(
        *CLEAN, ("x1", "extra", None, "g9", "c9"), ("x2", "extra", None, None, ""), ("e", "test", None, None, "")
    )
    assert leak_warnings(rows) == []
    for fold in ("1", "2", FULL):
        assert len(training_rows(rows, fold).left_out) == 0
        assert {"x1", "x2"} <= set(training_rows(rows, fold)[0]["id"])


@pytest.mark.parametrize(("group", "content"), [(None, "c1"), ("g1", "c9"), ("g1", "c1")])
def test_extra_copy_of_a_held_out_clip_is_left_out(group: str, content: str) -> None:
    rows = manifest(*CLEAN, ("x", "extra", None, group, content))
    train, valid, left_out = training_rows(rows, "1")
    assert left_out["id"].to_list() == ["x"]
    assert train["id"].to_list() == ["t2", "t3"]
    assert bias_of_fold(train, valid) == []
    assert training_rows(rows, "2")[0]["id"].to_list() == ["t1", "x"]
    assert training_rows(rows, FULL)[0]["id"].to_list() == ["t1", "t2", "t3", "x"]
    (warning,) = leak_warnings(rows)
    assert warning.startswith("1 extra" if content == "c1" else "0 extra")
    assert "x" in warning.split()[-1] or " x.\n" in warning


@pytest.mark.parametrize(("group", "content"), [("g8", "c9"), (None, "c8")])
def test_an_extra_clip_of_a_test_clip_is_left_out_everywhere(group: str, content: str) -> None:
    rows = manifest(*CLEAN, ("e", "test", None, "g8", "c8"), ("x", "extra", None, group, content))
    assert all("x" not in training_rows(rows, fold)[0]["id"] for fold in ("1", "2", FULL))
    assert len(leak_warnings(rows)) == 1


def test_folds_dividing_groups_or_files_are_optimistic() -> None:
    rows = manifest(*CLEAN, ("t4", "train", 1, "g2", "c4"), ("t5", "train", 1, None, "c3"))
    biased = bias_of_fold(*training_rows(rows, "1")[:2])
    assert [line.partition(" ")[0] for line in biased] == ["1", "1"]
    groups, files = leak_warnings(rows)
    assert "t2 and t4 of group g2 are in folds 2 and 1" in groups
    assert "t3 and t5 are equal, in folds 2 and 1" in files


def test_warning_for_test_clips_shared_with_training() -> None:
    rows = manifest(
        *CLEAN, ("e1", "test", None, "g1", "c7"), ("e2", "test", None, None, "c2"), ("e3", "test", None, None, "c8")
    )
    groups, files = leak_warnings(rows)
    assert groups.startswith("1 of 3 test clips")
    assert groups.endswith("e1.")
    assert files.startswith("1 of 3 test clips")
    assert files.endswith("e2.")


def test_copies_within_a_fold_are_told() -> None:
    (warning,) = leak_warnings(manifest(*CLEAN, ("t4", "train", 2, None, "c2")))
    assert warning.startswith("2 training clips are copies of 1 file")
    assert bias_of_fold(*training_rows(manifest(*CLEAN, ("t4", "train", 2, None, "c2")), "2")[:2]) == []


@pytest.mark.parametrize(
    ("path", "rms", "peak", "similar"),
    [
        ("/else/new.wav", 0.1, 0.5, True),  # the levels of t1: the same samples in another file
        ("/else/T1.flac", 0.103, 0.6, True),  # its name, and about its level
        ("/else/t1.flac", 0.2, 0.5, False),
        ("/else/new.wav", 0.1, 0.6, False),
    ],
)
def test_similar_extra_clip_is_kept_with_a_warning(path: str, rms: float, peak: float, similar: bool) -> None:
    rows = manifest(*CLEAN, ("x", "extra", None, None, "c9"))
    is_extra = pl.col("id") == "x"
    new = {"path": path, "rms": rms, "peak": peak}
    rows = rows.with_columns(**{name: pl.when(is_extra).then(pl.lit(v)).otherwise(name) for name, v in new.items()})
    warnings = leak_warnings(rows)
    assert len(warnings) == similar
    assert not similar or "x resembles t1" in warnings[0]
    assert "x" in training_rows(rows, "1")[0]["id"]


def test_clips_of_equal_content_are_one_group() -> None:
    rows = manifest(
        ("a", "train", 1, "g1", "c1"), ("b", "train", 1, "g2", "c1"), ("c", "train", 1, None, "c2"),
        ("d", "train", 1, None, "c2"), ("e", "train", 1, None, "c3"), ("f", "train", 1, "g2", "c4"),
        ("g", "train", 1, None, ""), ("h", "train", 1, None, ""),
    )  # fmt: skip
    groups, n_named = clip_groups(rows)
    assert n_named == 2
    assert groups.dtype == np.int64
    assert groups[0] == groups[1] == groups[5]
    assert groups[2] == groups[3]
    assert len(set(groups)) == 5
    assert sorted(set(groups)) == list(range(5))
