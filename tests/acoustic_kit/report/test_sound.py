"""Audio of clips in a page: equal to the clip, and small."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from acoustic_kit.dsp.sound_file import Span
from acoustic_kit.errors import AkitError
from acoustic_kit.report.sound import COLUMNS, MOST_BYTES, N_MELS, SAMPLE_RATE, SECONDS, clip_sound


def decoded(uri: str) -> bytes:
    return base64.b64decode(uri.partition(",")[2])


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def test_the_player_holds_the_clip(tmp_path: Path) -> None:
    wave = tone(1, SAMPLE_RATE)
    soundfile.write(tmp_path / "a.wav", np.stack([wave, np.zeros_like(wave)], axis=1), SAMPLE_RATE)
    sound = clip_sound(tmp_path / "a.wav")
    heard, rate = soundfile.read(io.BytesIO(decoded(sound.audio)))
    assert rate == SAMPLE_RATE
    assert heard == pytest.approx(wave / 2, abs=2e-4)  # channels are averaged; 16 bits
    assert not sound.cut
    assert sound.seconds == 1
    assert sound.peaks.shape[0] == 2
    assert sound.peaks.shape[1] <= COLUMNS
    assert (sound.peaks[0] <= sound.peaks[1]).all()


def test_long_clips_are_cut(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(SECONDS + 2, 8000), 8000)
    sound = clip_sound(tmp_path / "a.wav")
    assert sound.cut
    assert sound.seconds == pytest.approx(SECONDS)


def test_the_player_of_a_window_holds_the_window(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-0.1, 0.1, 3 * SAMPLE_RATE)
    soundfile.write(tmp_path / "a.flac", wave, SAMPLE_RATE)
    for start, end in ((0.5, 1.0), (2.5, 4.0)):
        sound = clip_sound(tmp_path / "a.flac", Span(start, end))
        heard, _ = soundfile.read(io.BytesIO(decoded(sound.audio)))
        assert heard == pytest.approx(wave[round(start * SAMPLE_RATE) :][: len(heard)], abs=2e-4)
        assert (sound.seconds, sound.cut) == (0.5, False)


def test_noise_is_cut_to_what_a_page_may_weigh(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, round(SECONDS * SAMPLE_RATE))
    soundfile.write(tmp_path / "a.wav", noise, SAMPLE_RATE)
    sound = clip_sound(tmp_path / "a.wav")
    assert sound.cut
    assert 0.9 * MOST_BYTES < len(decoded(sound.audio)) < 1.1 * MOST_BYTES


def test_the_spectrogram_shows_a_tone_where_it_is(tmp_path: Path) -> None:
    from matplotlib.image import imread

    soundfile.write(tmp_path / "a.wav", tone(2, SAMPLE_RATE, 5000), SAMPLE_RATE)
    picture = imread(io.BytesIO(decoded(clip_sound(tmp_path / "a.wav").spectrogram)))
    assert picture.shape[0] == N_MELS
    assert picture.shape[1] <= COLUMNS + 1
    brightest = int(picture[..., :3].sum(axis=(1, 2)).argmax())
    assert 10 < brightest < 40  # 5 kHz of 11: in the upper half of the mel bands, which lie upside down in a picture


@pytest.mark.parametrize("n", [1, 30, 3000])
def test_the_shortest_clips_and_silence_have_pictures_too(tmp_path: Path, n: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(n), SAMPLE_RATE)
    sound = clip_sound(tmp_path / "a.wav")
    assert decoded(sound.spectrogram).startswith(b"\x89PNG")
    assert decoded(sound.audio).startswith(b"fLaC")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "is empty"), (b"RIFF", "cannot be decoded"), (b"text, not sound" * 100, "cannot be decoded")],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AkitError, match=reason):
        clip_sound(tmp_path / "a.wav")
    with pytest.raises(AkitError, match="does not exist"):
        clip_sound(tmp_path / "not there.wav")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), SAMPLE_RATE)
    with pytest.raises(AkitError, match="no samples"):
        clip_sound(tmp_path / "empty.wav")
