import tracemalloc
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.dsp import spectrum
from acoustic_kit.dsp.spectrum import PadMode, power_blocks
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.logmel import LogMel
from acoustic_kit.features.wave import Wave

pytestmark = [
    pytest.mark.filterwarnings("ignore:Empty filters"),
    pytest.mark.filterwarnings("ignore:n_fft=.*too large"),
]

LENGTHS = st.integers(1, 30_000)
RATES = st.sampled_from([4000, 8000, 16000, 22050, 48000])
FRAMES = st.sampled_from([(256, 64), (512, 512), (1024, 256), (1764, 220), (2048, 512), (2048, 3000)])
PADS = st.sampled_from(["constant", "reflect"])
SCALES = st.sampled_from(["slaney", "htk"])


def sound(n: int, rate: int, seed: int) -> np.ndarray:
    """A gliding tone in noise that fades out: float32 (n,)."""
    t = np.arange(n) / rate
    tone = np.sin(2 * np.pi * rate * (0.05 + 0.05 * t) * t)
    noise = np.random.default_rng(seed).standard_normal(n)
    return ((0.5 * tone + 0.05 * noise) * np.exp(-2 * t)).astype(np.float32)


def librosas(feature: LogMel, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Librosa's mel spectrogram of what the feature describes, as power and in decibels."""
    power = librosa.feature.melspectrogram(
        y=wave,
        power=1 if feature.scale == "magnitude" else 2,
        sr=feature.wave.sample_rate,
        n_fft=feature.n_fft,
        hop_length=feature.hop_length,
        n_mels=feature.n_mels,
        fmin=feature.fmin,
        fmax=feature.fmax,
        pad_mode=feature.pad_mode,
        htk=feature.mel_scale == "htk",
        norm=None if feature.mel_scale == "htk" else "slaney",
    )
    return power, librosa.power_to_db(power, top_db=feature.top_db)


@settings(deadline=None, max_examples=60)
@given(st.integers(3000, 30_000), RATES, FRAMES, PADS, st.integers(1, 128), SCALES, st.integers(0, 1000))
def test_decibels_of_noise_are_librosas_to_1e5_on_average(
    n: int, rate: int, frames: tuple[int, int], pad: str, n_mels: int, scale: str, seed: int
) -> None:
    feature = LogMel(Wave(rate), *frames, n_mels=n_mels, mel_scale=scale, pad_mode=pad)
    wave = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    ours, (_, theirs) = feature.compute(wave), librosas(feature, wave)
    assert (ours.shape, ours.dtype) == ((n_mels, 1 + n // feature.hop_length), np.float32)
    assert np.abs(ours - theirs).mean() <= 1e-5


@settings(deadline=None, max_examples=30)
@given(LENGTHS, st.floats(0, 120))
def test_top_db_only_cuts_off_below_the_maximum(n: int, top_db: float) -> None:
    wave = sound(n, 22050, 0)
    whole, cut = LogMel(top_db=None).compute(wave), LogMel(top_db=top_db).compute(wave)
    np.testing.assert_array_equal(cut, np.maximum(whole, whole.max() - np.float32(top_db)))


@settings(deadline=None, max_examples=60)
@given(LENGTHS, RATES, FRAMES, PADS, SCALES, st.sampled_from(["power", "magnitude"]), st.integers(0, 1000))
def test_power_and_magnitude_are_librosas_to_1e6_of_the_maximum(
    n: int, rate: int, frames: tuple[int, int], pad: str, mel_scale: str, scale: str, seed: int
) -> None:
    feature = LogMel(Wave(rate), *frames, mel_scale=mel_scale, pad_mode=pad, scale=scale)
    wave = sound(n, rate, seed)
    ours, (theirs, _) = feature.compute(wave), librosas(feature, wave)
    assert ours.dtype == np.float32
    assert np.abs(ours - theirs).max() <= 1e-6 * theirs.max()


@pytest.mark.parametrize("feature", [LogMel(), LogMel(n_fft=1764, hop_length=220, n_mels=64, pad_mode="reflect")])
def test_real_clips_are_librosas_to_1e5_db_on_average(esc10: Path, feature: LogMel) -> None:
    for path in sorted((esc10 / "audio").iterdir())[::50]:
        wave = feature.wave.compute(path)
        ours, (power, theirs) = feature.compute(wave), librosas(feature, wave)
        assert np.abs(ours - theirs).mean() <= 1e-5
        # Stored decibels are rounded to float32, up to 9e-7 of a value on either side.
        assert np.abs(10 ** (ours / 10.0) - 10 ** (theirs / 10.0)).max() <= 3e-6 * power.max()


@pytest.mark.parametrize("wave", [np.zeros(1), np.ones(1), np.zeros(5000), np.ones(5000), np.full(99, 1e-30)])
@pytest.mark.parametrize("pad", ["constant", "reflect"])
def test_odd_waves_give_finite_decibels(wave: np.ndarray, pad: str) -> None:
    decibels = LogMel(pad_mode=pad).compute(wave.astype(np.float32))
    assert np.isfinite(decibels).all()
    assert decibels.min() >= -100.001


@given(st.integers(64 * 5, 20_000), st.sampled_from([(64, 5), (256, 64), (512, 600)]), PADS)
@settings(deadline=None, max_examples=40)
def test_a_long_wave_in_pieces_gives_the_same_bits(n: int, frames: tuple[int, int], pad: PadMode) -> None:
    wave = np.random.default_rng(n).standard_normal(n).astype(np.float32)
    whole = np.concatenate([power for _, power in power_blocks(wave, *frames, pad)], axis=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(spectrum, "PIECE", 2 * spectrum.BLOCK)
        blocks = list(power_blocks(wave, *frames, pad))
    np.testing.assert_array_equal(np.concatenate([power for _, power in blocks], axis=1), whole)
    assert [start for start, _ in blocks] == list(range(0, whole.shape[1], spectrum.BLOCK))


def test_memory_is_that_of_the_result_and_little_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum, "PIECE", spectrum.BLOCK)
    feature, wave = LogMel(), np.random.default_rng(0).standard_normal(120 * 22050).astype(np.float32)
    feature.compute(wave[:4096])  # compiles, and makes the filters
    tracemalloc.start()
    try:
        result = feature.compute(wave)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.75 * result.nbytes


def test_silence_is_minus_100_db() -> None:
    np.testing.assert_allclose(LogMel().compute(np.zeros(3000, dtype=np.float32)), -100, rtol=1e-6)


@pytest.mark.parametrize("wave", [np.zeros(0), np.array([0, np.nan]), np.array([np.inf]), np.array([1e20])])
def test_waves_that_are_no_sound_are_refused(wave: np.ndarray) -> None:
    with pytest.raises(AkitError, match="samples"):
        LogMel().compute(wave.astype(np.float32))


def test_every_parameter_decides_the_key_the_sources_too() -> None:
    base = LogMel()
    changes = {
        "wave": Wave(16000),
        "n_fft": 1024,
        "hop_length": 256,
        "n_mels": 64,
        "mel_scale": "htk",
        "fmin": 20.0,
        "fmax": 8000.0,
        "pad_mode": "reflect",
        "scale": "power",
        "top_db": None,
    }
    assert len({base.key, *(replace(base, **{name: value}).key for name, value in changes.items())}) == 11
    assert base.source == Wave()


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_fft": 0},
        {"n_fft": 1023},
        {"hop_length": 0},
        {"n_mels": 0},
        {"fmin": -1.0},
        {"fmax": 12_000.0},
        {"fmin": 500.0, "fmax": 500.0},
        {"pad_mode": "edge"},
        {"mel_scale": "bark"},
        {"scale": "amplitude"},
        {"top_db": -1.0},
    ],
)
def test_wrong_parameters_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        LogMel(**wrong)
