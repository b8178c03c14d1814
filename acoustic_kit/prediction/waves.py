"""Waves of clips for exported models: decoded in the order of the clips, ahead of the predictions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from acoustic_kit.dsp.decoding import Decoding, Sound, decode_as
from acoustic_kit.dsp.recording import Recording
from acoustic_kit.dsp.sound_file import SoundError, Span
from acoustic_kit.prediction.new_clips import NewClip


class Waves(NamedTuple):
    """Consecutive clips."""

    clips: Sequence[NewClip]
    sounds: list[dict[Decoding, Sound]]  # of the clips that can be read, in order
    errors: dict[int, str]  # position in `clips` → why it cannot be read


@dataclass
class WaveReader:
    """Decodes clips in a thread of its own, one chunk ahead; a recording is decoded once for all of its windows."""

    decodings: Collection[Decoding]
    _recording: Recording | None = None
    _file: str = ""
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def __enter__(self) -> WaveReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)
        self._close()

    def chunks(self, clips: Sequence[NewClip], size: int) -> Iterator[Waves]:
        """Yield the waves of `size` clips after another, while the next ones are decoded."""
        parts = [clips[start : start + size] for start in range(0, len(clips), size)]
        ahead = [self._thread.submit(self._read, part) for part in parts[:1]]
        for number in range(len(parts)):
            found = ahead.pop().result()
            if number + 1 < len(parts):
                ahead.append(self._thread.submit(self._read, parts[number + 1]))
            yield found

    def _read(self, clips: Sequence[NewClip]) -> Waves:
        sounds, errors = list[dict[Decoding, Sound]](), dict[int, str]()
        for i, clip in enumerate(clips):
            try:
                sounds.append(self._sound(clip))
            except SoundError as error:
                errors[i] = str(error)
        return Waves(clips, sounds, errors)

    def _sound(self, clip: NewClip) -> dict[Decoding, Sound]:
        if clip.start is None or clip.end is None:
            return decode_as(clip.path, self.decodings)
        if self._recording is None or self._file != str(clip.path):
            self._close()
            self._recording, self._file = Recording(clip.path), str(clip.path)
        return self._recording.read(Span(clip.start, clip.end), self.decodings)

    def _close(self) -> None:
        if self._recording is not None:
            self._recording.close()
        self._recording = None
