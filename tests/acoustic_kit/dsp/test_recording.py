"""Spans of a file are, bit for bit, slices of the decoded file, which is decoded once and in flat memory."""

import io
import tracemalloc
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from acoustic_kit.dsp import recording as recording_module
from acoustic_kit.dsp.decoding import Decoding, decode, resample
from acoustic_kit.dsp.recording import Recording
from acoustic_kit.dsp.sound_file import MISSING, SoundError, SoundFile, Span

RATE, SECONDS = 32000, 13.7  # more than three blocks of a decoder
FORMATS = ["wav", "flac", "ogg", "mp3"]
AS_IT_IS, LOW_LEFT = Decoding(), Decoding(22050, "left")


def sound() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (int(RATE * SECONDS), 2)).astype(np.float32)


@cache
def encoded(form: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound(), RATE, format=form.upper())
    return file.getvalue()


def written(form: str) -> io.BytesIO:
    return io.BytesIO(encoded(form))


def windows(length: float, hop: float) -> list[Span]:
    return [Span(start, start + length) for start in np.arange(0, SECONDS, hop).tolist()]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The files that recordings open."""
    found: list[object] = []
    open_sound = recording_module.open_sound
    monkeypatch.setattr(recording_module, "open_sound", lambda place: (found.append(place), open_sound(place))[1])
    return found


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "spans", [windows(5, 5), windows(5, 1.2345), [Span(0, 99), Span(0.5, 99), Span(3, 3.1), Span(10, 99)]]
)
def test_spans_are_slices_of_the_decoded_file(
    tmp_path: Path, opened: list[object], form: str, spans: list[Span]
) -> None:
    path = tmp_path / f"a.{form}"
    path.write_bytes(encoded(form))
    whole = {decoding: decode(path, decoding.mono).samples for decoding in (AS_IT_IS, LOW_LEFT)}
    with Recording(path) as recording:
        for span in spans:
            cut = slice(round(span.start * RATE), round(span.end * RATE))
            for decoding, (samples, rate) in recording.read(span, [AS_IT_IS, LOW_LEFT]).items():
                expected = resample(whole[decoding][cut], RATE, decoding.sample_rate or RATE)
                assert rate == (decoding.sample_rate or RATE)
                np.testing.assert_array_equal(samples, expected)
    assert len(opened) == 1


@pytest.mark.parametrize("form", ["flac", "ogg"])
def test_a_span_is_what_a_file_with_nothing_else_gives(form: str) -> None:
    wave = decode(written(form)).samples
    with Recording(written(form)) as recording:
        found = recording.read(Span(7.3, 12.3), [Decoding(22050)])[Decoding(22050)]
    only = io.BytesIO()
    soundfile.write(only, wave[round(7.3 * RATE) : round(12.3 * RATE)], RATE, format="WAV", subtype="FLOAT")
    np.testing.assert_array_equal(found.samples, resample(decode(only).samples, RATE, 22050))
    assert len(found.samples) == 5 * 22050


def test_a_span_before_the_held_samples_is_decoded_again(opened: list[object]) -> None:
    file = written("flac")
    with Recording(file) as recording:
        late, early = recording.read(Span(8, 12), [AS_IT_IS]), recording.read(Span(0, 5), [AS_IT_IS])
    whole = decode(file).samples
    np.testing.assert_array_equal(late[AS_IT_IS].samples, whole[8 * RATE : 12 * RATE])
    np.testing.assert_array_equal(early[AS_IT_IS].samples, whole[: 5 * RATE])
    assert len(opened) == 2


@pytest.mark.parametrize(("span", "reason"), [(Span(40, 45), "40 s.*13.7 s"), (Span(3, 3), "no samples")])
def test_a_span_without_samples_is_an_error_of_its_own(span: Span, reason: str) -> None:
    with Recording(written("ogg")) as recording:
        with pytest.raises(SoundError, match=reason):
            recording.read(span, [AS_IT_IS])
        assert len(recording.read(Span(13, 18), [AS_IT_IS])[AS_IT_IS].samples) == round(0.7 * RATE)


def test_an_unreadable_file_is_opened_once(tmp_path: Path, opened: list[object]) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    for path in (tmp_path / "text.wav", tmp_path / "none.wav"):
        with Recording(path) as recording:
            reasons = set()
            for span in windows(5, 5):
                with pytest.raises(SoundError) as caught:
                    recording.read(span, [AS_IT_IS])
                reasons.add(str(caught.value))
            assert len(reasons) == 1
    assert reasons == {MISSING}
    assert len(opened) == 1  # a missing file is not opened


def test_damage_fails_the_spans_from_there_on() -> None:
    content = encoded("flac")
    with Recording(io.BytesIO(content[: len(content) // 2])) as recording:
        assert len(recording.read(Span(0, 2), [AS_IT_IS])[AS_IT_IS].samples) == 2 * RATE
        for span in (Span(4, 9), Span(10, 15)):
            with pytest.raises(SoundError, match="cannot be decoded"):
                recording.read(span, [AS_IT_IS])


def test_bad_samples_fail_only_the_spans_that_have_them() -> None:
    wave = np.full(14 * RATE, 0.1, np.float32)
    wave[10 * RATE] = np.nan
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, format="WAV", subtype="FLOAT")
    with Recording(file) as recording:
        for span in windows(5, 2.5):
            if span.start <= 10 < span.start + 5:
                with pytest.raises(SoundError, match="NaN"):
                    recording.read(span, [AS_IT_IS])
            else:
                recording.read(span, [AS_IT_IS])


def test_memory_does_not_grow_with_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hours, in blocks as the decoder gives them."""

    def blocks(_: SoundFile) -> Iterator[np.ndarray]:
        block = np.zeros((1 << 18, 1), np.float32)
        yield from (block for _ in range(7200 * RATE // len(block)))

    monkeypatch.setattr(SoundFile, "blocks", blocks)
    file = written("wav")
    tracemalloc.start()
    with Recording(file) as recording:
        for start in range(0, 7190, 60):
            recording.read(Span(start, start + 5), [Decoding(16000)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6
