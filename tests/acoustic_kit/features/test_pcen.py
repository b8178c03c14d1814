from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.dsp.filterbanks import mel_filters
from acoustic_kit.dsp.pcen_kernels import BLOCK, Parameters, exp2, log2, pcen
from acoustic_kit.dsp.spectrum import mel_spectrogram
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.pcen import Pcen
from acoustic_kit.features.wave import Wave

pytestmark = pytest.mark.filterwarnings("ignore:Empty filters")

WHOLE = Wave(22050, trim_top_db=None)
URBANSOUND = Pcen(
    Wave(32000, trim_top_db=None),
    n_fft=(2048, 1024),
    hop_length=320,
    mel_scale="htk",
    fmin=20.0,
    pad_mode="reflect",
    full_scale=1.0,
    bias=2 + 1e-6,
    b=320 / (32000 * 0.06),
    start="first",
)
FEATURES = {"defaults": Pcen(WHOLE), "power": Pcen(WHOLE, spectrum="power"), "urbansound8k": URBANSOUND}

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(1, 2 * BLOCK + 1), st.integers(1, 300))
PARAMETERS = st.builds(
    Parameters,
    b=st.floats(0.01, 1.0),
    gain=st.floats(0.0, 1.0),
    bias=st.floats(0.01, 10.0),
    power=st.floats(0.05, 1.0),
    eps=st.sampled_from([1e-6, 1e-3]),
    extra_eps=st.just(0.0),
)


def random_energy(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Energies over six orders of magnitude, and silence: float32."""
    random = np.random.default_rng(seed)
    energy = 10.0 ** random.uniform(-4, 2, shape) * (random.random(shape) < 0.9)
    return energy.astype(np.float32)


def kernel(energy: np.ndarray, parameters: Parameters, start: np.ndarray) -> np.ndarray:
    scratch, out = np.empty((2, BLOCK, energy.shape[1]), dtype=np.float32), np.empty_like(energy)
    pcen(energy, start.astype(np.float32), parameters, *scratch, out)
    return out


def librosas(mel: np.ndarray, feature: Pcen) -> np.ndarray:
    """Librosa's PCEN of a mel spectrogram of waves at full scale 1, computed in float64."""
    scaled = mel.astype(float) * feature.full_scale ** (1 if feature.spectrum == "magnitude" else 2)
    return librosa.pcen(
        scaled,
        sr=feature.wave.sample_rate,
        hop_length=feature.hop_length,
        gain=feature.gain,
        bias=feature.bias,
        power=feature.power,
        time_constant=feature.time_constant,
        eps=feature.eps,
        b=feature.b,
        zi=None if feature.start == "one" else (1 - feature.b) * scaled[:, :1],
    )


def librosas_mel(wave: np.ndarray, n_fft: int, feature: Pcen) -> np.ndarray:
    htk = feature.mel_scale == "htk"
    return librosa.feature.melspectrogram(
        y=wave.astype(float),
        sr=feature.wave.sample_rate,
        n_fft=n_fft,
        hop_length=feature.hop_length,
        n_mels=feature.n_mels,
        fmin=feature.fmin,
        pad_mode=feature.pad_mode,
        htk=htk,
        norm=None if htk else "slaney",
        power=1 if feature.spectrum == "magnitude" else 2,
    )


def our_mel(wave: np.ndarray, n_fft: int, feature: Pcen) -> np.ndarray:
    rate = feature.wave.sample_rate
    bank = mel_filters(rate, n_fft, feature.n_mels, feature.fmin, rate / 2, feature.mel_scale)
    magnitude = feature.spectrum == "magnitude"
    return mel_spectrogram(wave, bank, n_fft, feature.hop_length, feature.pad_mode, magnitude)


@pytest.mark.parametrize("feature", FEATURES.values(), ids=FEATURES)
@settings(deadline=None, max_examples=15)
@given(n=st.integers(2100, 60_000), seed=SEEDS, loudness=st.sampled_from([1e-3, 0.1, 1.0, 10.0]))
def test_noise_is_librosas_to_1e4(feature: Pcen, n: int, seed: int, loudness: float) -> None:
    wave = (loudness * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)
    ours = feature.compute(wave)
    assert (ours.shape, ours.dtype) == ((2, 128, 1 + n // feature.hop_length), np.float32)
    for resolution, n_fft in zip(ours, feature.n_fft, strict=True):
        theirs = librosas(librosas_mel(wave, n_fft, feature), feature)
        np.testing.assert_allclose(resolution, theirs, atol=1e-4)


@pytest.mark.parametrize("feature", FEATURES.values(), ids=FEATURES)
def test_real_clips_are_librosas_to_1e4_on_the_same_mel(esc10: Path, feature: Pcen) -> None:
    for path in sorted((esc10 / "audio").iterdir())[::50]:
        wave = feature.wave.compute(path)
        for resolution, n_fft in zip(feature.compute(wave), feature.n_fft, strict=True):
            np.testing.assert_allclose(resolution, librosas(our_mel(wave, n_fft, feature), feature), atol=1e-4)


@pytest.mark.parametrize("feature", FEATURES.values(), ids=FEATURES)
def test_real_clips_are_librosas_from_the_wave_on(esc10: Path, feature: Pcen) -> None:
    """Apart from a few bands with next to nothing in them, where all that a float32 FFT has is its rounding.

    PCEN raises them to the level of the others. Of 200 clips' cells at most 0.2 % are off by more than 1e-4.
    """
    for path in sorted((esc10 / "audio").iterdir())[::50]:
        wave = feature.wave.compute(path)
        for resolution, n_fft in zip(feature.compute(wave), feature.n_fft, strict=True):
            mel = librosas_mel(wave, n_fft, feature)
            heard = np.abs(mel) > 1e-4 * mel.max()
            error = np.abs(resolution - librosas(mel, feature))
            assert error[heard].max() <= 1e-4
            assert error.mean() <= 1e-3


@pytest.mark.parametrize("feature", FEATURES.values(), ids=FEATURES)
def test_with_a_float64_fft_real_clips_equal_librosa_to_1e4(esc10: Path, feature: Pcen) -> None:
    exact = replace(feature, precision="float64")
    for path in sorted((esc10 / "audio").iterdir())[::25]:
        wave = feature.wave.compute(path)
        for resolution, n_fft in zip(exact.compute(wave), feature.n_fft, strict=True):
            np.testing.assert_allclose(resolution, librosas(librosas_mel(wave, n_fft, feature), feature), atol=1e-4)


@settings(deadline=None, max_examples=60)
@given(SIZES, SEEDS, PARAMETERS)
def test_any_parameters_give_librosas_pcen(shape: tuple[int, int], seed: int, p: Parameters) -> None:
    energy = random_energy(shape, seed)
    exact = energy.astype(float)
    for start, state in ((np.ones(shape[0]), None), (energy[:, 0], (1 - p.b) * exact[:, :1])):
        theirs = librosa.pcen(exact, gain=p.gain, bias=p.bias, power=p.power, b=p.b, eps=p.eps, zi=state)
        np.testing.assert_allclose(kernel(energy, p, start), theirs, atol=2e-6 * (1 + theirs.max()), rtol=1e-5)


@settings(deadline=None, max_examples=40)
@given(SIZES, SEEDS, PARAMETERS)
def test_what_comes_later_changes_nothing_before(shape: tuple[int, int], seed: int, p: Parameters) -> None:
    energy, later = random_energy(shape, seed), random_energy((shape[0], 40), seed + 1)
    longer = np.concatenate([energy, later], axis=1)
    whole, part = (kernel(x, p, energy[:, 0])[:, : shape[1]] for x in (longer, energy))
    np.testing.assert_allclose(whole, part, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.0, 1e6), st.integers(1, 300), PARAMETERS)
def test_a_steady_sound_stays_as_it_is(level: float, frames: int, p: Parameters) -> None:
    energy = np.full((1, frames), level, dtype=np.float32)
    out = kernel(energy, p, energy[:, 0])
    expected = (level / (p.eps + level) ** p.gain + p.bias) ** p.power - p.bias**p.power
    np.testing.assert_allclose(out, np.full_like(energy, expected), rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(SIZES, SEEDS, PARAMETERS, st.floats(1e-2, 1e2))
def test_full_gain_takes_loudness_away(shape: tuple[int, int], seed: int, p: Parameters, factor: float) -> None:
    p = p._replace(gain=1.0, eps=1e-20)
    energy = np.maximum(random_energy(shape, seed), np.float32(1e-5))
    louder = energy * np.float32(factor)
    np.testing.assert_allclose(kernel(louder, p, louder[:, 0]), kernel(energy, p, energy[:, 0]), rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.tuples(st.integers(1, 40), st.integers(1, 60)), SEEDS, PARAMETERS)
def test_rows_know_nothing_of_each_other(shape: tuple[int, int], seed: int, p: Parameters) -> None:
    energy = random_energy(shape, seed)
    alone = np.concatenate([kernel(row[None], p, row[:1]) for row in energy])
    np.testing.assert_allclose(kernel(energy, p, energy[:, 0]), alone, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 20_000), SEEDS, st.sampled_from(["magnitude", "power"]), st.sampled_from(["one", "first"]))
def test_full_scale_is_a_factor_of_the_samples(n: int, seed: int, spectrum: str, start: str) -> None:
    feature = Pcen(WHOLE, n_fft=(512,), n_mels=20, spectrum=spectrum, start=start, full_scale=2.0**15)
    wave = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    scaled = replace(feature, full_scale=1.0).compute(wave * np.float32(2**15))
    np.testing.assert_allclose(feature.compute(wave), scaled, rtol=1e-5, atol=2e-5)


def test_resolutions_are_those_of_each_alone() -> None:
    wave = np.random.default_rng(0).standard_normal(30_000).astype(np.float32)
    both = Pcen(n_fft=(2048, 512)).compute(wave)
    for resolution, n_fft in zip(both, (2048, 512), strict=True):
        np.testing.assert_array_equal(resolution, Pcen(n_fft=(n_fft,)).compute(wave)[0])


@pytest.mark.parametrize("feature", FEATURES.values(), ids=FEATURES)
@pytest.mark.parametrize(
    "wave", [np.zeros(1), np.zeros(5000), np.ones(5000), np.full(99, 1e-30), np.full(999, 1e10), np.arange(9) == 5]
)
def test_odd_waves_give_finite_values_not_below_zero(feature: Pcen, wave: np.ndarray) -> None:
    found = feature.compute(wave.astype(np.float32))
    assert np.isfinite(found).all()
    assert found.min() >= -1e-5


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_logarithm_and_power_are_numpys(seed: int) -> None:
    x = np.exp2(np.random.default_rng(seed).uniform(-126, 127, 1000)).astype(np.float32)
    near_one = np.random.default_rng(seed).uniform(0.7, 1.5, 1000).astype(np.float32)
    y = np.random.default_rng(seed).uniform(-126, 126, 1000).astype(np.float32)
    np.testing.assert_allclose([log2(v) for v in x], np.log2(x.astype(float)), rtol=3e-7)
    np.testing.assert_allclose([log2(v) for v in near_one], np.log2(near_one.astype(float)), atol=2e-7)
    np.testing.assert_allclose([exp2(v) for v in y], np.exp2(y.astype(float)), rtol=4e-7)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_energy_becomes_nan_from_there_on(wrong: float) -> None:
    energy = np.ones((1, 200), dtype=np.float32)
    energy[0, 100] = wrong
    out = kernel(energy, Parameters(0.1, 0.98, 2.0, 0.5, 1e-6), energy[:, 0])
    np.testing.assert_array_equal(np.isnan(out[0]), np.arange(200) >= 100)


@pytest.mark.parametrize("wave", [np.zeros(0), np.array([0, np.nan]), np.array([np.inf]), np.array([1e20])])
def test_waves_that_are_no_sound_are_refused(wave: np.ndarray) -> None:
    with pytest.raises(AkitError, match="samples"):
        Pcen().compute(wave.astype(np.float32))


def test_every_parameter_decides_the_key_the_sources_too() -> None:
    base = Pcen()
    changes = {
        "wave": Wave(16000),
        "n_fft": (2048,),
        "hop_length": 256,
        "n_mels": 64,
        "mel_scale": "htk",
        "fmin": 20.0,
        "fmax": 8000.0,
        "pad_mode": "reflect",
        "spectrum": "power",
        "full_scale": 1.0,
        "gain": 0.9,
        "bias": 1.0,
        "power": 0.25,
        "time_constant": 0.06,
        "eps": 1e-5,
        "b": 0.1,
        "start": "first",
    }
    assert len({base.key, *(replace(base, **{name: value}).key for name, value in changes.items())}) == 18
    assert base.source == Wave()


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_fft": ()},
        {"n_fft": 2048},
        {"n_fft": (2048, 1023)},
        {"hop_length": 0},
        {"n_mels": 0},
        {"fmin": -1.0},
        {"fmax": 12_000.0},
        {"pad_mode": "edge"},
        {"mel_scale": "bark"},
        {"spectrum": "db"},
        {"full_scale": 0.0},
        {"gain": 1.1},
        {"bias": 0.0},
        {"power": 0.0},
        {"time_constant": float("nan")},
        {"eps": 0.0},
        {"b": 1.5},
        {"start": "zero"},
    ],
)
def test_wrong_parameters_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Pcen(**wrong)
