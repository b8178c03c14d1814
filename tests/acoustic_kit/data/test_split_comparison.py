"""Differences between training and test clips are named; those between official folds of one data set are not."""

import numpy as np
import polars as pl
import pytest

from acoustic_kit.data import Comparison, make_manifest, read_dataset, summarize
from acoustic_kit.data.split_comparison import compare_splits


def clips(split: str, n: int, **columns: object) -> pl.DataFrame:
    """Clips of a split: 0.5 to 5 s at 44.1 kHz, mono, with peaks of -20 to 0 dB."""
    random = np.random.default_rng(n)
    peak = 10 ** -random.random(n)
    drawn = {
        "duration": 0.5 + 4.5 * random.random(n),
        "sample_rate": 44100,
        "channels": 1,
        "peak": peak,
        "rms": peak / 5,
    }
    return pl.DataFrame({"split": np.repeat(split, n)}).with_columns(**(drawn | columns))


def differing(train: pl.DataFrame, test: pl.DataFrame) -> dict[str, Comparison]:
    return {one.name: one for one in compare_splits(pl.concat([train, test], how="diagonal_relaxed")) if one.differs}


@pytest.mark.parametrize("n_test", [2, 3, 40])
@pytest.mark.parametrize("n_train", [10, 200])
def test_longer_test_clips_are_named_with_both_ranges(n_train: int, n_test: int) -> None:
    train, test = clips("train", n_train), clips("test", n_test, duration=60.0)
    assert set(differing(train, test)) == {"length"}
    low, _, high = differing(train, test)["length"].train
    assert differing(train, test)["length"].line == f"test clips are 60 s long, training clips {low:.3g} – {high:.3g} s"


@pytest.mark.parametrize(
    ("columns", "name", "numbers"),
    [
        ({"sample_rate": 16000}, "sample rate", ("16000", "44100")),
        ({"channels": 2}, "channels", ("2", "1")),
        ({"rms": 1e-4}, "rms", ("-80.0",)),
        ({"peak": 0.0}, "peak", ("-100.0",)),
    ],
)
def test_each_property_is_compared(columns: dict, name: str, numbers: tuple[str, ...]) -> None:
    found = differing(clips("train", 100), clips("test", 30, **columns))
    assert set(found) == {name}
    assert all(number in found[name].line for number in numbers)


def test_slight_differences_and_chance_are_not_named() -> None:
    train = clips("train", 100, duration=5.0)
    assert differing(train, clips("test", 50, duration=5.01)) == {}
    for n in (1, 2, 5, 50):
        assert differing(clips("train", 100), clips("test", n)) == {}
    some = pl.Series(np.where(np.arange(100) % 3 == 0, 48000, 44100))
    assert differing(clips("train", 100, sample_rate=some), clips("test", 40)) == {}


def test_unreadable_clips_and_extra_clips_are_left_out() -> None:
    train, extra = clips("train", 20), clips("extra", 90, duration=60.0)
    unreadable = clips("test", 90).with_columns(
        pl.lit(None).alias(c) for c in ("duration", "sample_rate", "peak", "rms")
    )
    assert compare_splits(pl.concat([train, extra, unreadable], how="diagonal_relaxed")) == []
    assert len(compare_splits(pl.concat([train, unreadable, clips("test", 1)], how="diagonal_relaxed"))) == 5


def test_folds_of_esc10_do_not_differ(esc10) -> None:
    dataset = read_dataset(esc10)
    manifest, _ = make_manifest(dataset)
    assert summarize(manifest, dataset.classes).comparison == []
    for fold in range(1, 6):
        split = pl.when(pl.col("fold") == fold).then(pl.lit("test")).otherwise("split")
        summary = summarize(manifest.with_columns(split=split), dataset.classes)
        assert len(summary.comparison) == 5
        assert summary.differences == []
