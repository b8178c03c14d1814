from pathlib import Path

import librosa
import numpy as np

from acoustic_kit.features.freesound2018.harmonic import harmonic_mask, harmonic_part
from acoustic_kit.features.freesound2018.stft import stft
from acoustic_kit.features.wave import Wave


def test_mask_and_part_of_real_clips_are_librosas(esc10: Path) -> None:
    for path in sorted((esc10 / "audio").iterdir())[5::150]:
        wave = Wave(44100).compute(path)
        spectra, magnitude = stft(wave, 2048, 512)
        theirs = librosa.stft(wave, pad_mode="reflect")
        mask = librosa.decompose.hpss(np.abs(theirs), mask=True)[0]
        np.testing.assert_allclose(harmonic_mask(magnitude), mask, rtol=0, atol=1e-3)  # float32 near silence
        assert np.abs(harmonic_mask(magnitude) - mask).mean() < 1e-6
        harmonic = librosa.istft(librosa.decompose.hpss(theirs)[0], length=len(wave))
        ours = harmonic_part(spectra, magnitude, 512, len(wave))
        np.testing.assert_allclose(ours, harmonic, rtol=0, atol=2e-6 * np.abs(wave).max())


def test_a_steady_tone_is_harmonic_and_a_click_is_not() -> None:
    t = np.arange(44100) / 44100
    tone = np.sin(2 * np.pi * 1000 * t).astype(np.float32)
    click = np.zeros(44100, np.float32)
    click[22050] = 1
    for wave, least, most in ((tone, 0.98, 1.01), (click, 0.0, 0.02)):
        kept = harmonic_part(*stft(wave, 2048, 512), 512, len(wave))
        assert least <= (kept**2).sum() / (wave**2).sum() < most


def test_silence_is_half_harmonic() -> None:
    assert (harmonic_mask(np.zeros((1025, 3), np.float32)) == 0.5).all()
