"""The layers and the store's features, held to librosa and torchaudio on the same parameters."""

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from acoustic_kit.errors import UsageError
from acoustic_kit.features.logmel import LogMel
from acoustic_kit.features.pcen import Pcen
from acoustic_kit.features.wave import Wave
from acoustic_kit.nn.logmel import MelSpectrogram
from acoustic_kit.nn.pcen import TrainablePcen

pytestmark = pytest.mark.filterwarnings("ignore:n_fft=.*too large")

RATE = 16000


def sound(n: int, seed: int) -> np.ndarray:
    """A tone in noise: float32 (n,)."""
    tone = np.sin(2 * np.pi * 0.02 * np.arange(n))
    return (0.3 * tone + 0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def librosas(wave: np.ndarray, scale: str, mel_scale: str, pad_mode: str, top_db: float | None) -> np.ndarray:
    htk = mel_scale == "htk"
    mel = librosa.feature.melspectrogram(
        y=wave.astype(float),
        sr=RATE,
        n_fft=512,
        hop_length=160,
        n_mels=40,
        fmin=20.0,
        fmax=7000.0,
        power=1 if scale == "magnitude" else 2,
        pad_mode=pad_mode,
        htk=htk,
        norm=None if htk else "slaney",
    )
    return librosa.power_to_db(mel, top_db=top_db) if scale == "db" else mel


@pytest.mark.parametrize("scale", ["db", "power", "magnitude"])
@settings(deadline=None, max_examples=15)
@given(
    st.integers(300, 20_000),
    st.integers(0, 1000),
    st.sampled_from(["slaney", "htk"]),
    st.sampled_from(["constant", "reflect"]),
    st.sampled_from([None, 30.0]),
)
def test_layer_and_feature_are_librosas(
    scale: str, n: int, seed: int, mel_scale: str, pad_mode: str, top_db: float | None
) -> None:
    same = {
        "mel_scale": mel_scale,
        "fmin": 20.0,
        "fmax": 7000.0,
        "pad_mode": pad_mode,
        "scale": scale,
        "top_db": top_db,
    }
    waves = np.stack([sound(n, seed), 0.1 * sound(n, seed + 1)])
    layer = MelSpectrogram(RATE, 512, 160, 40, **same)(torch.from_numpy(waves)).numpy()
    feature = LogMel(Wave(RATE), 512, 160, 40, **same)
    for ours, wave in zip(layer, waves, strict=True):
        theirs = librosas(wave, scale, mel_scale, pad_mode, top_db)
        tolerance = 2e-3 if scale == "db" else 1e-6 * theirs.max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)
        np.testing.assert_allclose(feature.compute(wave), theirs, rtol=0, atol=tolerance)


@settings(deadline=None, max_examples=10)
@given(st.integers(1500, 40_000), st.integers(0, 1000))
def test_layers_and_features_are_the_winning_front_end(n: int, seed: int) -> None:
    """Torchaudio's magnitude mel and the trainable PCEN at its start, as UrbanSound8K's winner has them."""
    wave, b = torch.from_numpy(sound(n, seed)), 320 / (32000 * 0.06)
    parameters = {"hop_length": 320, "n_mels": 64, "mel_scale": "htk", "fmin": 20.0, "pad_mode": "reflect"}
    theirs = torchaudio.transforms.MelSpectrogram(32000, 1024, hop_length=320, f_min=20.0, n_mels=64, power=1)(wave)
    layer = MelSpectrogram(32000, n_fft=1024, scale="magnitude", **parameters)(wave)
    torch.testing.assert_close(layer, theirs, rtol=0, atol=5e-6 * theirs.max().item())

    feature = Pcen(Wave(32000), n_fft=(1024,), full_scale=1.0, bias=2 + 1e-6, b=b, start="first", **parameters)
    pcen = TrainablePcen(b).double()(theirs.double()).detach().numpy()
    np.testing.assert_allclose(TrainablePcen(b)(layer).detach(), pcen, atol=1e-4)
    np.testing.assert_allclose(feature.compute(wave.numpy())[0], pcen, atol=1e-4)


def test_the_state_dict_is_empty_and_buffers_follow_the_device() -> None:
    layer = MelSpectrogram(RATE)
    assert not layer.state_dict()
    assert not list(layer.parameters())
    assert {name for name, _ in layer.named_buffers()} == {"window", "filters"}


def test_leading_axes_are_kept_and_each_wave_has_its_own_maximum() -> None:
    layer = MelSpectrogram(RATE, 512, 160, 40, scale="db", top_db=20.0)
    waves = torch.stack([torch.from_numpy(sound(4000, i)) * 0.5**i for i in range(6)]).reshape(2, 3, 4000)
    mel = layer(waves)
    assert mel.shape == (2, 3, 40, 26)
    torch.testing.assert_close(mel[1, 2], layer(waves[1, 2]))
    torch.testing.assert_close(mel.amax(dim=(-2, -1)) - mel.amin(dim=(-2, -1)), torch.full((2, 3), 20.0))


def test_autocast_does_not_round_it() -> None:
    layer, wave = MelSpectrogram(RATE, 512, 160, 40), torch.from_numpy(sound(4000, 0))
    with torch.autocast("cpu", torch.bfloat16):
        mel = layer(wave)
    torch.testing.assert_close(mel, layer(wave), rtol=0, atol=0)


@pytest.mark.parametrize("scale", ["db", "power", "magnitude"])
def test_silence_has_finite_values_and_gradients(scale: str) -> None:
    wave = torch.zeros(4000, requires_grad=True)
    mel = MelSpectrogram(RATE, 512, 160, 40, scale=scale)(wave)
    mel.sum().backward()
    assert mel.isfinite().all()
    assert wave.grad.isfinite().all()


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(UsageError, match="fmax"):
        MelSpectrogram(RATE, fmax=9000.0)
    with pytest.raises(UsageError, match="scale"):
        MelSpectrogram(RATE, scale="decibel")
