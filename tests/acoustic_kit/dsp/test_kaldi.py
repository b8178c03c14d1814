import numpy as np
import pytest
import torch
from torchaudio.compliance.kaldi import get_mel_banks

from acoustic_kit.dsp import kaldi


@pytest.mark.parametrize("n_mels", [4, 40, 128, 200])
def test_filters_equal_torchaudio_but_for_its_float32_mels(n_mels: int) -> None:
    bank = kaldi.filters(n_mels)
    theirs, _ = get_mel_banks(n_mels, 512, 16000.0, 20.0, 0.0, 100.0, -500.0, 1.0)
    assert bank.weights.dtype == np.float32
    np.testing.assert_allclose(bank.weights[:, :-1], theirs.numpy(), atol=1e-4)
    assert not bank.weights[:, -1].any()


def test_filters_say_where_they_are_not_zero() -> None:
    bank = kaldi.filters(128)
    for weights, first, end in zip(*bank, strict=True):
        np.testing.assert_array_equal(np.flatnonzero(weights), np.arange(first, end) if end else [])


def test_the_window_is_the_symmetric_hann_window() -> None:
    theirs = torch.hann_window(400, periodic=False).numpy()
    np.testing.assert_allclose(kaldi.window(), theirs, atol=2e-7)
    assert kaldi.window()[0] == kaldi.window()[-1] == 0


@pytest.mark.parametrize(("n", "frames"), [(400, 1), (559, 1), (560, 2), (20_000, 123), (164_080, 1024)])
def test_frames_lie_wholly_inside(n: int, frames: int) -> None:
    assert kaldi.frame_count(n) == frames
