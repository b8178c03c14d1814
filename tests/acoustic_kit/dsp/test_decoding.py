"""Decoding and resampling against librosa."""

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.dsp.decoding import decode, resample
from acoustic_kit.errors import AkitError


def noise(n: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


@pytest.mark.parametrize(("suffix", "channels"), [(".wav", 1), (".wav", 2), (".flac", 2), (".ogg", 1), (".wav", 5)])
def test_decode_is_the_mean_of_the_channels(tmp_path: Path, suffix: str, channels: int) -> None:
    path = tmp_path / f"clip{suffix}"
    soundfile.write(path, noise(3000 * channels).reshape(-1, channels), 11025)
    wave, rate = decode(path)
    theirs, _ = librosa.load(path, sr=None)
    assert (rate, wave.dtype, wave.flags.c_contiguous) == (11025, np.float32, True)
    np.testing.assert_allclose(wave, theirs, atol=1e-7)


def test_bad_audio_is_refused_in_one_line_without_the_path(tmp_path: Path) -> None:
    float_wav = {"samplerate": 8000, "subtype": "FLOAT"}
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), **float_wav)
    soundfile.write(tmp_path / "inf.wav", np.array([0.0, -np.inf]), **float_wav)
    soundfile.write(tmp_path / "huge.wav", np.array([0.0, -1e30]), **float_wav)
    soundfile.write(tmp_path / "slow.wav", np.zeros(100), 1)
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "nothing.mp3").write_bytes(b"")
    (tmp_path / "bare.raw").write_bytes(b"12345678")
    (tmp_path / "folder.wav").mkdir()
    reasons = {
        "empty.wav": "no samples",
        "nan.wav": "NaN",
        "inf.wav": "NaN or infinite",
        "huge.wav": "1e\\+30",
        "slow.wav": "1 Hz",
        "text.wav": "cannot be decoded: Format not recognised",
        "nothing.mp3": "the file is empty",
        "bare.raw": "Format not recognised",
        "folder.wav": "does not exist",
        "missing.wav": "does not exist",
    }
    for name, reason in reasons.items():
        with pytest.raises(AkitError, match=reason) as caught:
            decode(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name not in str(caught.value)


def test_lengths_beyond_memory_in_headers_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "liar.flac"
    soundfile.write(path, noise(8000), 8000)
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # STREAMINFO's 36-bit number of samples
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    assert len(decode(path).samples) == 8000


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5000), st.sampled_from([8000, 11025, 22050, 44100, 48000]), st.sampled_from([4000, 16000, 22050]))
def test_resample_is_librosas(n: int, rate: int, target: int) -> None:
    wave = noise(n)
    ours = resample(wave, rate, target)
    np.testing.assert_array_equal(ours, librosa.resample(wave, orig_sr=rate, target_sr=target))
    assert ours.dtype == np.float32
