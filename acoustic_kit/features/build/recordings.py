"""The recording that a thread keeps open between the blocks of a build, so that it is decoded once."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from acoustic_kit.dsp.recording import Recording
from acoustic_kit.dsp.sound_file import SoundError

if TYPE_CHECKING:
    import io
    from pathlib import Path


class _Kept(threading.local):
    place: Path | str | None = None
    recording: Recording | None = None


_kept = _Kept()


def open_recording(place: Path | str, fetched: Future[Path | io.BytesIO] | None = None) -> Recording:
    """Return the recording at a place, which stays open until another one is asked for.

    - `fetched`: the result of `fetch` for it, if it is known
    """
    if _kept.recording is None or _kept.place != place:
        close_recording()
        try:
            _kept.recording = Recording(place if fetched is None else fetched.result())
        except SoundError:  # it tries once more, and remembers the error
            _kept.recording = Recording(place)
        _kept.place = place
    return _kept.recording


def is_open(place: Path | str | None) -> bool:
    """Return whether the recording at a place is open."""
    return place is not None and _kept.place == place


def close_recording() -> None:
    """Close the recording that is open, if any; its file may have changed when the next build begins."""
    if _kept.recording is not None:
        _kept.recording.close()
    _kept.place = _kept.recording = None
