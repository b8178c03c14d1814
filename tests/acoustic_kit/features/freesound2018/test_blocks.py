"""Blocks B, C and D of the Freesound table against their definitions, written out with numpy."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.features.freesound2018 import clip_parts, envelope, mean_spectrum

WAVES = st.builds(
    lambda n, seed: np.random.default_rng(seed).standard_normal(n).astype(np.float32),
    st.integers(1, 12_000),
    st.integers(0, 1000),
)


def named(module: object, values: np.ndarray) -> dict[str, float]:
    return dict(zip(module.COLUMNS, values, strict=True))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.booleans(), max_size=60))
def test_runs_are_the_groups_of_itertools(mask: list[bool]) -> None:
    lengths = [len(list(group)) for value, group in itertools.groupby(mask) if value]
    expected = np.zeros(4)
    if lengths:
        expected[:] = np.log1p([np.mean(lengths), np.std(lengths), max(lengths), 0])
        expected[3] = len(lengths)
    np.testing.assert_allclose(envelope.describe_runs(np.array(mask, dtype=bool)), expected, atol=1e-9)


def test_envelope_of_a_burst() -> None:
    wave = np.zeros(20_000, np.float32)
    wave[5000:9000] = 1  # the mean of 2000 samples rises from sample 3001 on, is 1 from 5000 to 7000, 0 from 9000 on
    found = named(envelope, envelope.envelope_statistics(wave))
    assert np.expm1(found["log_time_to_attack"]) == pytest.approx(4981)  # 1981 of 2000 samples: above 0.99
    assert np.expm1(found["log_time_to_relax"]) == pytest.approx(8601)  # 399 of 2000 samples: below 0.2
    assert np.expm1(found["run_rms_gt25_logmaxlen"]) == pytest.approx(8499 - 3500)
    assert (found["run_rms_gt25_count"], found["run_rms_gt25_logstdlen"]) == (1, 0)
    assert np.expm1(found["zerocross_log_total"]) == pytest.approx(19_999 - 3999)
    assert found["zerocross_fraction"] == 16_000 / 20_000


def test_silence_has_no_runs_and_its_attack_is_at_once() -> None:
    found = named(envelope, envelope.envelope_statistics(np.zeros(3000, np.float32)))
    assert not any(value for name, value in found.items() if name.startswith("run"))
    assert (found["log_time_to_attack"], np.expm1(found["log_time_to_relax"])) == (0, pytest.approx(1001))


@settings(deadline=None, max_examples=50)
@given(WAVES)
def test_mean_spectrum_is_the_mean_over_whole_segments(wave: np.ndarray) -> None:
    found = mean_spectrum.mean_spectrum(wave)
    bounds = range(100, len(wave), 2000)
    segments = [wave[a:b] for a, b in itertools.pairwise(bounds)] or [np.pad(wave, (0, 2000))[:2000]]
    theirs = np.log(1 + np.mean([np.abs(np.fft.fft(segment.astype(float))) for segment in segments], axis=0))[:1000]
    np.testing.assert_allclose(found, theirs, rtol=1e-9)


@settings(deadline=None, max_examples=50)
@given(WAVES)
def test_spectrum_statistics_follow_their_definitions(wave: np.ndarray) -> None:
    found, p = named(mean_spectrum, mean_spectrum.spectrum_statistics(wave)), mean_spectrum.mean_spectrum(wave)
    k = np.arange(1000)
    assert found["spec_centroid_sq"] == pytest.approx((k * p**2).sum() / (p**2).sum())
    assert found["spec_n_gt50"] == (p > 0.5 * p.max()).sum()
    assert found["spec_low50_ge90"] == (p[:50] >= 0.9 * p.max()).sum()
    assert found["spec_argmax"] == p.argmax()
    theirs = np.polynomial.Polynomial.fit(k, p, 2).convert().coef
    ours = [found[f"spec_quad_c{i}"] for i in range(3)]
    np.testing.assert_allclose(ours, np.pad(theirs, (0, 3 - len(theirs))), rtol=1e-6, atol=1e-12)
    smooth = [np.pad(p, (0, 20))[i : i + 20].mean() for i in range(0, 1000, 40)]
    np.testing.assert_allclose([found[f"spec_smooth_{i:03d}"] for i in range(0, 1000, 40)], smooth, rtol=1e-9)


def test_the_lobes_parabola_fits_the_bins_around_the_peak() -> None:
    t = np.arange(10_100)
    tones = [size * np.sin(2 * np.pi * k / 2000 * t) for k, size in enumerate((0.1, 0.3, 0.5, 0.4, 0.1), start=298)]
    wave = np.sum(tones, axis=0, dtype=np.float32)
    found, p = named(mean_spectrum, mean_spectrum.spectrum_statistics(wave)), mean_spectrum.mean_spectrum(wave)
    low = np.flatnonzero(p < 0.1 * p.max())
    first, end = low[low < 300][-1], low[low > 300][0]
    theirs = np.polyfit(np.arange(first, end), p[first:end], 2)[::-1]
    np.testing.assert_allclose([found[f"lobe_quad_c{i}"] for i in range(3)], theirs, rtol=1e-5)


def test_a_flat_spectrum_has_no_lobe() -> None:
    impulse = np.zeros(3000, np.float32)
    impulse[500] = 1
    found = named(mean_spectrum, mean_spectrum.spectrum_statistics(impulse))
    assert [found[f"lobe_quad_c{i}"] for i in range(3)] == [0, 0, 0]


@settings(deadline=None, max_examples=50)
@given(WAVES)
def test_parts_are_numpys_and_the_last_is_one_sample(wave: np.ndarray) -> None:
    found = named(clip_parts, clip_parts.part_statistics(wave))
    signals = {"raw": wave, "abs": np.abs(wave), "diff": np.diff(wave) if len(wave) > 1 else np.zeros(1)}
    for name, signal in signals.items():
        third = len(signal) // 3
        for column, part in {
            f"part1_{name}_0": signal[-1:],
            f"part2_{name}_0": signal[: len(signal) // 2],
            f"part3_{name}_1": signal[third : 2 * third],
            f"part3_{name}_2": signal[-1:],
        }.items():
            exact = part.astype(float) if len(part) else np.zeros(1)
            theirs = [exact.mean(), exact.std(), exact.min(), exact.max()]
            ours = [found[f"{column}_{statistic}"] for statistic in ("mean", "std", "min", "max")]
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
