"""Synthetic soundscapes: labeled clips placed at known times over recorded background."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.data.recordings import Event, labels_of_windows
from acoustic_kit.data.windows import Windows
from acoustic_kit.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from acoustic_kit.data.dataset import Dataset

CROSSFADE = 0.25  # seconds between two clips of the background, and at both ends of an event at most
BACKGROUND_LEVEL = 0.02  # root mean square
TOP_DB = 40.0  # silence around an event is cut
MIN_OVERLAP = 0.5  # of event and window, as a share of the shorter of both, for the window to have the label


@dataclass(frozen=True)
class Soundscapes:
    """What the recordings contain.

    - `background`: classes that fill the recordings; they are not labeled
    - `sources`: least and greatest number of clips that are placed in a recording
    - `calls`: least and greatest number of times that a clip is repeated, each an event of its own. None: from the
      start of the recording to its end
    - `pause`: least and greatest time between them, seconds
    - `snr`: least and greatest level of a source over the background, dB
    - `snr_spread`: standard deviation of the level of its calls, dB
    """

    background: tuple[str, ...] = ("rain", "sea_waves")
    sources: tuple[int, int] = (1, 4)
    calls: tuple[int, int] | None = (1, 6)
    pause: tuple[float, float] = (0.5, 6.0)
    snr: tuple[float, float] = (-5.0, 15.0)
    snr_spread: float = 0.0
    seconds: float = 60.0
    window: float = 5.0  # length that rows of a submission are about, seconds
    sample_rate: int = 32000  # Hz
    extension: str = ".flac"


def make_soundscapes(
    dataset: Dataset,
    folder: Path,
    *,
    n: int = 600,
    test_fold: int,
    contents: Soundscapes | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write recordings with events at random times, and the exact truth.

    >>> make_soundscapes(read_dataset(Path("ESC-10")), Path("soundscapes"), test_fold=5)

    A recording contains clips of one fold of the data set only, in background and events; `pool` in the tables is that
    fold. The recordings of `test_fold` are the test set. Recordings are dealt to the folds in turn.

    - `data/`: the competition: `train/` and `test/` with 16-bit mono recordings, `train_events.csv` with a row for each
      event (`filename, start, end, label, pool`; seconds), and `sample_submission.csv` with a row for each window of
      the test recordings
    - `solution.csv`: a row for each row of the submission, with 1 for the classes of events that overlap the window by
      `MIN_OVERLAP`
    - `test_events.csv`: the events of the test recordings

    The same arguments give the same recordings.

    Parameters
    ----------
    dataset : labeled clips with folds, one label per clip
    folder : created if missing
    n : number of recordings
    on_progress : called with the number of recordings written and of all

    Raises
    ------
    DataError : if `folder` is not empty, or a fold lacks clips of a background class or of all others
    UsageError : for a fold that does not exist, fewer recordings than folds, or a data set without folds

    """
    contents = contents or Soundscapes()
    folds = sorted(dataset.clips["fold"].drop_nulls().unique())
    if test_fold not in folds:
        raise UsageError(f"there is no fold {test_fold}; the folds are {', '.join(map(str, folds))}.")
    if n < len(folds):
        raise UsageError(f"{n} recordings are too few for {len(folds)} folds.")
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty; name a new folder for the soundscapes.")
    events: dict[str, list[_Row]] = {"train": [], "test": []}
    for part in events:
        (folder / "data" / part).mkdir(parents=True)
    done = 0
    for fold in folds:
        pool = _Pool.of(dataset, fold, contents)
        part = "test" if fold == test_fold else "train"
        for number in range(folds.index(fold), n, len(folds)):
            name = f"soundscape_{number:04d}{contents.extension}"
            found = pool.write(folder / "data" / part / name, [seed, number])
            events[part] += [(name, start, end, label, fold) for start, end, label in found]
            done += 1
            if on_progress:
                on_progress(done, n)
    names = ("filename", "start", "end", "label", "pool")
    _write_table(folder / "data" / "train_events.csv", names, sorted(events["train"], key=str))
    _write_table(folder / "test_events.csv", names, sorted(events["test"], key=str))
    _write_windows(folder, events["test"], contents)


_Row = tuple[str, float, float, str, int]  # file name, start, end, label, pool


def _write_windows(folder: Path, events: Sequence[_Row], contents: Soundscapes) -> None:
    """Write `sample_submission.csv` and `solution.csv`."""
    classes = sorted({row[3] for row in events})
    windows = Windows(length=contents.window, hop=contents.window)
    spans = windows.spans(contents.seconds)
    sample, solution = list[Sequence[object]](), list[Sequence[object]]()
    for name in sorted(path.name for path in (folder / "data" / "test").iterdir()):
        found = [Event(start, end, [label]) for file, start, end, label, _ in events if file == name]
        labels = labels_of_windows(found, spans, contents.seconds, MIN_OVERLAP)
        for (start, end), here in zip(spans, labels, strict=True):
            id = windows.id_of(name, start, end)
            sample.append((id, *(round(1 / len(classes), 4) for _ in classes)))
            solution.append((id, *(int(label in here) for label in classes)))
    _write_table(folder / "data" / "sample_submission.csv", ("row_id", *classes), sample)
    _write_table(folder / "solution.csv", ("row_id", *classes), solution)


def _write_table(path: Path, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)


@dataclass(frozen=True)
class _Pool:
    """The clips of one fold."""

    contents: Soundscapes
    background: Sequence[np.ndarray]  # float32 (n,)
    events: Mapping[str, Sequence[np.ndarray]]  # label → trimmed waves

    @staticmethod
    def of(dataset: Dataset, fold: int, contents: Soundscapes) -> _Pool:
        from acoustic_kit.dsp.decoding import Decoding, decode_as
        from acoustic_kit.dsp.trimming import trim

        decoding = Decoding(contents.sample_rate)
        background: list[np.ndarray] = []
        events: dict[str, list[np.ndarray]] = {}
        clips = dataset.clips.filter(dataset.clips["fold"] == fold)
        for path, labels in clips.select("path", "label").iter_rows():
            wave = decode_as(dataset.root / path, [decoding])[decoding].samples
            if labels[0] in contents.background:
                background.append(wave)
            elif wave.any():
                events.setdefault(labels[0], []).append(trim(wave, TOP_DB)[0])
        if not background or not events:
            raise DataError(f"fold {fold} of {dataset.root} has no clips of {', '.join(contents.background)}, or only.")
        return _Pool(contents, background, events)

    def write(self, path: Path, seed: Sequence[int]) -> list[tuple[float, float, str]]:
        """Write one recording; return start, end (seconds) and label of its events, in order."""
        import numpy as np
        import soundfile

        contents, rng = self.contents, np.random.default_rng(seed)
        rate = contents.sample_rate
        wave = self._background(round(contents.seconds * rate), rng)
        found = []
        for _ in range(_draw(contents.sources, rng)):
            label = sorted(self.events)[int(rng.integers(len(self.events)))]
            event = self.events[label][int(rng.integers(len(self.events[label])))][: len(wave)]
            level = BACKGROUND_LEVEL * 10 ** (rng.uniform(*contents.snr) / 20)
            faded = event * _fade(len(event), rate) * (level / max(float(np.sqrt(np.mean(event**2))), 1e-6))
            latest = len(wave) - len(event)
            first = min(latest, round(contents.pause[1] * rate)) if contents.calls is None else latest
            start = int(rng.integers(first + 1))
            n = math.inf if contents.calls is None else _draw(contents.calls, rng)
            while start <= latest and n > 0:
                change = 10 ** (rng.normal(0, contents.snr_spread) / 20) if contents.snr_spread else 1.0
                wave[start : start + len(event)] += faded * change
                found.append((start / rate, (start + len(event)) / rate, label))
                start += len(event) + round(rng.uniform(*contents.pause) * rate)
                n -= 1
        wave /= max(1.0, float(np.abs(wave).max()) / 0.99)
        soundfile.write(path, wave, rate, subtype="VORBIS" if path.suffix == ".ogg" else "PCM_16")
        return sorted(found)

    def _background(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return clips of the background one after another, each faded into the next: float64 (n,)."""
        import numpy as np

        wave, at = np.zeros(n), 0
        overlap = round(CROSSFADE * self.contents.sample_rate)
        while at < n:
            clip = self.background[int(rng.integers(len(self.background)))]
            clip = clip * (_fade(len(clip), self.contents.sample_rate) / max(float(np.sqrt(np.mean(clip**2))), 1e-6))
            part = clip[: n - at]
            wave[at : at + len(part)] += part
            at += max(len(clip) - overlap, 1)
        return wave * BACKGROUND_LEVEL


def _draw(limits: tuple[int, int], rng: np.random.Generator) -> int:
    return int(rng.integers(limits[0], limits[1] + 1))


def _fade(n: int, rate: int) -> np.ndarray:
    """Return 1 with a linear rise and fall of `CROSSFADE` seconds, at most half of `n` samples: float64 (n,)."""
    import numpy as np

    length = max(min(round(CROSSFADE * rate), n // 2), 1)
    ramp = (np.arange(n) + 1) / (length + 1)
    return np.minimum(1, np.minimum(ramp, ramp[::-1]))
