"""The feature `covariance`: its columns, its MFCC against librosa's, and what it refuses."""

import librosa
import numpy as np
import pytest

from acoustic_kit.errors import UsageError
from acoustic_kit.features.covariance import Covariance
from acoustic_kit.features.logmel import LogMel


def test_means_and_variances_are_those_of_librosas_mfcc() -> None:
    decibels = np.random.default_rng(0).normal(-40, 12, (64, 90)).astype(np.float32)
    feature = Covariance(n_mfcc=6, floor=1e-6)
    found = dict(zip(feature.columns(), feature.compute(decibels), strict=True))
    mfcc = librosa.feature.mfcc(S=decibels, n_mfcc=6)
    np.testing.assert_allclose([found[f"mfcc_{k:02d}_mean"] for k in range(6)], mfcc.mean(axis=1), rtol=1e-4)
    loud = np.random.default_rng(0).normal(-40, 24, (64, 90)).astype(np.float32)
    louder = dict(zip(feature.columns(), feature.compute(loud), strict=True))
    assert louder["mfcc_03_mfcc_03"] - found["mfcc_03_mfcc_03"] == pytest.approx(np.log(4), abs=0.01)


@pytest.mark.parametrize("frames", [1, 2, 200])
def test_all_numbers_are_finite_and_named(frames: int) -> None:
    feature = Covariance(LogMel(n_mels=32), n_mfcc=8)
    found = feature.compute(np.full((32, frames), -60.0, np.float32))
    assert found.dtype == np.float32
    assert len(found) == len(set(feature.columns())) == 8 + 16 * 17 // 2
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"n_mfcc": 65}, "n_mfcc is 65; it must be 1 to 64"),
        ({"floor": 0.0}, "floor is 0.0"),
        ({"logmel": LogMel(n_mels=64, scale="power")}, "logmel.scale is 'power'"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Covariance(**parameters)  # type: ignore[arg-type]
