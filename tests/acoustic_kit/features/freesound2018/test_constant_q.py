"""That the chroma is librosa 0.6.2's is shown by its tonal centroids, in test_freesound_table.py."""

from pathlib import Path

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.features.freesound2018.constant_q import constant_q_chroma, halve_rate, tonal_centroids
from acoustic_kit.features.wave import Wave


def tone(hz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.filterwarnings("ignore:n_fft=256 is too large")
def test_chroma_of_real_clips_is_near_that_of_librosa_011(esc10: Path) -> None:
    for path in sorted((esc10 / "audio").iterdir())[::80]:
        wave = Wave(44100).compute(path)
        theirs = librosa.feature.chroma_cqt(y=wave, sr=44100, tuning=0.2, bins_per_octave=12, norm=1)
        ours = constant_q_chroma(wave, 44100, 512, 0.2)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).mean() < 5e-3  # of a mean of 1 / 12


@pytest.mark.parametrize("rate", [4000, 8000, 9000, 16_000, 22_050, 44_100, 96_000, 768_000])
@pytest.mark.parametrize("note", [0, 4, 9, 11])
def test_a_note_is_in_its_pitch_class_at_any_rate(rate: int, note: int) -> None:
    for octave in (3, 4):
        wave = tone(440 * 2 ** ((note - 9) / 12 + octave - 4), rate, 0.5)
        frames = constant_q_chroma(wave, rate, 512, 0.0)
        middle = frames[:, frames.shape[1] // 2]
        assert middle.argmax() == note
        assert middle[note] > 0.45
        np.testing.assert_allclose(middle[[note - 1, (note + 1) % 12]], 0.245, atol=0.01)  # both neighbors respond


def test_tuning_moves_the_pitch_classes() -> None:
    wave = tone(440 * 2 ** (0.4 / 12), 44100)
    (below, above), (below_shifted, above_shifted) = (
        constant_q_chroma(wave, 44100, 512, tuning)[[8, 10], 40] for tuning in (0.0, 0.4)
    )
    assert above > below + 0.2
    assert abs(above_shifted - below_shifted) < 0.02


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 5000), st.integers(0, 1000))
def test_frames_of_chroma_sum_to_one_whatever_the_loudness(n: int, seed: int) -> None:
    wave = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    chroma = constant_q_chroma(wave, 44100, 512, 0.0)
    assert chroma.shape == (12, 1 + (n + (n % 512 == 511)) // 512)
    np.testing.assert_allclose(chroma.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(chroma, constant_q_chroma(4 * wave, 44100, 512, 0.0))


def test_silence_has_no_chroma() -> None:
    assert not constant_q_chroma(np.zeros(2000, np.float32), 44100, 512, 0.0).any()


def test_tonal_centroids_are_librosas() -> None:
    chroma = np.random.default_rng(0).random((12, 20)).astype(np.float32)
    chroma /= chroma.sum(axis=0)
    np.testing.assert_allclose(tonal_centroids(chroma), librosa.feature.tonnetz(chroma=chroma), atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3000), st.integers(0, 1000))
def test_halving_is_every_other_sample_of_a_convolution(n: int, seed: int) -> None:
    wave = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    impulse = np.zeros(256, np.float32)
    responses = []
    for place in (128, 129):  # an impulse on an even and on an odd sample gives every tap
        impulse[:] = 0
        impulse[place] = 1
        responses.append(halve_rate(impulse))
    taps = np.zeros(63)
    taps[1::2], taps[0::2] = responses[0][64 - 15 : 64 + 16], responses[1][64 - 15 : 64 + 17]
    np.testing.assert_array_equal(taps, taps[::-1])
    full = np.convolve(wave.astype(float), taps)[31 : 31 + n : 2]
    full[n // 2 :] = 0  # as in librosa, the sample that an odd one out would make is 0
    np.testing.assert_allclose(halve_rate(wave), full, rtol=0, atol=1e-5)


def test_halving_keeps_low_tones_and_removes_aliases() -> None:
    inside = slice(100, -100)
    for hz, gain in ((1000, 1.0), (5000, 1.0), (16_000, 0.0)):
        level = np.abs(halve_rate(tone(hz, 44100))[inside]).max()
        assert abs(level - gain) < 2e-3
