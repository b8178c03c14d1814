from pathlib import Path

import librosa
import numpy as np
import pytest

from acoustic_kit.features.freesound2018.stft import stft
from acoustic_kit.features.freesound2018.tuning import estimate_tuning
from acoustic_kit.features.wave import Wave


def test_tuning_of_real_clips_is_librosas(esc10: Path) -> None:
    found, theirs = [], []
    for path in sorted((esc10 / "audio").iterdir())[::20]:
        _, magnitude = stft(Wave(44100).compute(path), 2048, 512)
        blocks = [magnitude[:, start : start + 50].copy() for start in range(0, magnitude.shape[1], 50)]
        found.append(estimate_tuning(blocks, 44100, 2048))
        theirs.append(librosa.estimate_tuning(S=magnitude, sr=44100))
    assert max(theirs) < 0.49  # where librosa 0.6.2 and 0.11 differ
    np.testing.assert_allclose(found, theirs, atol=1e-9)


@pytest.mark.parametrize("cents", [-40, -10, 0, 25])
def test_tuning_of_detuned_tones(cents: int) -> None:
    t = np.arange(44100) / 44100
    notes = [440 * 2 ** (k / 12 + cents / 1200) for k in (0, 3, 7, 12, 19)]
    wave = sum(np.sin(2 * np.pi * hz * t) for hz in notes).astype(np.float32)
    _, magnitude = stft(wave, 8192, 2048)
    assert abs(estimate_tuning([magnitude], 44100, 8192) - cents / 100) < 0.05


def test_silence_has_no_tuning() -> None:
    assert estimate_tuning([np.zeros((1025, 4), np.float32)], 44100, 2048) == 0
