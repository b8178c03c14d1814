"""The wave of a clip: the chain of its steps, and its key."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest

from acoustic_kit.dsp.decoding import Sound
from acoustic_kit.dsp.trimming import trim
from acoustic_kit.errors import UsageError
from acoustic_kit.features.wave import Wave


def test_wave_is_librosas_load_and_trim_on_real_clips(esc10: Path) -> None:
    for path in sorted((esc10 / "audio").iterdir())[::80]:
        theirs, _ = librosa.effects.trim(librosa.load(path)[0])
        np.testing.assert_array_equal(Wave().compute(path), theirs)
        whole = Wave(sample_rate=16000, trim_top_db=None).compute(path)
        np.testing.assert_array_equal(whole, librosa.load(path, sr=16000)[0])


def test_a_wave_is_trimmed_then_normalized_then_fitted() -> None:
    loud = np.concatenate([np.zeros(4096), 0.25 * np.ones(4096), np.zeros(8192)]).astype(np.float32)
    wave = Wave(8000, peak=1.0, seconds=2.0).compute(Sound(loud, 8000))
    trimmed = trim(loud, 60.0)[0]
    assert len(wave) == 16000
    np.testing.assert_array_equal(wave[: len(trimmed)], 4 * trimmed)
    assert not wave[len(trimmed) :].any()


def test_all_parameters_and_the_resampler_decide_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    base = Wave()
    changes = [
        {"sample_rate": 16000},
        {"trim_top_db": None},
        {"trim_pad": "reflect"},
        {"peak": 1.0},
        {"seconds": 4.0},
        {"encoding": "float32"},
    ]
    others = [replace(base, **change) for change in changes]
    assert len({base.key, *(other.key for other in others)}) == 7
    monkeypatch.setattr("acoustic_kit.features.wave._resampler_version", lambda: "0.0")
    assert Wave().key != base.key


def test_storage_follows_the_encoding() -> None:
    assert [Wave().storage_dtype, Wave(encoding="float32").storage_dtype] == ["int16", "float32"]


@pytest.mark.parametrize(
    "wrong",
    [{"sample_rate": 0}, {"sample_rate": 10**7}, {"trim_top_db": 0.0}, {"trim_top_db": np.inf}, {"encoding": "mp3"}],
)
def test_wrong_parameters_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Wave(**wrong)


def test_importing_the_features_loads_no_heavy_library() -> None:
    code = (
        "import sys, acoustic_kit.features.wave, acoustic_kit.features.logmel, acoustic_kit.features.stats;"
        "print(sorted({'numba', 'scipy', 'soundfile', 'soxr'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
