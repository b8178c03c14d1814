"""The law of each way to mix, against direct evaluation clip by clip."""

import numpy as np
import pytest
import torch

from acoustic_kit.recipe.end_to_end_audio.wave_mix import MIXES, freqmix, mixup, phmix, timemix, union_targets
from acoustic_kit.training import ClipRng
from acoustic_kit.training.clip_rng import digests

N, CLIPS = 2**12, 200
DRAWS = ClipRng("seed", digests([str(i) for i in range(CLIPS)]), torch.device("cpu"))
PARTNER = torch.arange(CLIPS).roll(7)


@pytest.fixture
def waves() -> torch.Tensor:
    """Waves of different levels."""
    return torch.logspace(-1, 0, CLIPS)[:, None] * torch.randn(CLIPS, N, generator=torch.Generator().manual_seed(0))


def covers(values: torch.Tensor, low: float, high: float) -> bool:
    """Whether numbers reach through a range and not beyond, as uniform ones do."""
    share = (values.double() - low) / (high - low)
    return bool(-1e-5 <= share.min() < 0.05 and 0.95 < share.max() <= 1 + 1e-5 and abs(share.mean() - 0.5) < 0.1)


def test_mixup_is_between_class_learnings_formula(waves: torch.Tensor) -> None:
    found, share = mixup(waves, PARTNER, DRAWS)
    level = 10 * np.log10(np.maximum(waves.double().square().mean(dim=1).numpy(), 1e-5))
    drawn = []
    for i, j in enumerate(PARTNER.tolist()):
        p = float(share[i])
        expected = (p * waves[i] + (1 - p) * waves[j]) / np.sqrt(p**2 + (1 - p) ** 2)
        torch.testing.assert_close(found[i], expected, rtol=1e-4, atol=1e-5)
        odds = (1 / p - 1) / 10 ** ((level[i] - level[j]) / 20)  # (1-l)/l
        drawn.append(1 / (1 + odds))
    assert covers(torch.tensor(drawn), 0.1, 1.0)


def test_mixup_keeps_the_energy_of_equally_loud_waves(waves: torch.Tensor) -> None:
    waves = waves / waves.square().mean(dim=1, keepdim=True).sqrt()
    found, _ = mixup(waves, PARTNER, DRAWS)
    assert found.square().mean(dim=1).sub(1).abs().max() < 0.15


def test_mixup_of_silence_is_finite() -> None:
    found, share = mixup(torch.zeros(CLIPS, N), PARTNER, DRAWS)
    assert not found.any()
    assert covers(share, 0.1, 1.0)


def test_timemix_takes_the_start_or_the_end_of_the_partner(waves: torch.Tensor) -> None:
    found, share = timemix(waves, PARTNER, DRAWS)
    ends = []
    for i, j in enumerate(PARTNER.tolist()):
        k = int(N * (1 - float(share[i])))
        first = torch.cat([waves[j, :k], waves[i, k:]])
        last = torch.cat([waves[i, : N - k], waves[j, N - k :]])
        assert torch.equal(found[i], first) or torch.equal(found[i], last)
        ends.append(torch.equal(found[i], last))
    assert covers(share, 0.5, 1.0)
    assert 70 < sum(ends) < 130


@pytest.mark.parametrize(("window", "hop"), [(512, 128), (1024, 256), (2048, 1024)])
def test_freqmix_takes_low_or_high_frequencies_of_the_partner(waves: torch.Tensor, window: int, hop: int) -> None:
    found, share = freqmix(waves, PARTNER, DRAWS, window, hop)
    hann, bins, ends = torch.hann_window(window), window // 2 + 1, []
    for i, j in list(enumerate(PARTNER.tolist()))[:50]:
        own, other = (torch.stft(waves[c], window, hop, window=hann, return_complex=True) for c in (i, j))
        k = int(bins * (1 - float(share[i])))
        low, high = (
            torch.istft(torch.cat(parts), window, hop, window=hann)
            for parts in ((other[:k], own[k:]), (own[: bins - k], other[bins - k :]))
        )
        assert low.shape == (N,)  # the hop divides the length
        fits = [torch.allclose(found[i], x, rtol=1e-3, atol=1e-4) for x in (low, high)]
        assert any(fits)
        ends.append(fits[1])
    assert 10 < sum(ends) < 40
    assert covers(share, 0.5, 1.0)


@pytest.mark.parametrize(("window", "hop"), [(512, 128), (2048, 1024)])
def test_phmix_keeps_the_magnitude_and_leans_the_phase(waves: torch.Tensor, window: int, hop: int) -> None:
    found, share = phmix(waves, PARTNER, DRAWS, window, hop)
    ones = torch.ones(window)
    for i, j in list(enumerate(PARTNER.tolist()))[:50]:
        own, other = (torch.stft(waves[c], window, hop, window=ones, return_complex=True) for c in (i, j))
        l = 2 * float(share[i]) - 1  # noqa: E741
        cells = own.abs() * torch.exp(1j * (l * own.angle() + (1 - l) * other.angle()))
        torch.testing.assert_close(found[i], torch.istft(cells, window, hop, window=ones), rtol=1e-3, atol=1e-4)
    assert covers(share, 0.5, 1.0)


@pytest.mark.parametrize("name", MIXES)
def test_a_clip_mixed_with_itself_stays_itself(waves: torch.Tensor, name: str) -> None:
    found, share = MIXES[name](waves, torch.arange(CLIPS), DRAWS, 512, 128)
    scale = (share.square() + (1 - share).square()).sqrt() if name == "mixup" else 1
    torch.testing.assert_close(found * scale, waves, rtol=1e-3, atol=1e-4)


def test_union_targets_are_hard_and_leave_a_faint_partner_out() -> None:
    own, other = torch.eye(4)[[0, 1, 2, 3]], torch.eye(4)[[1, 1, 0, 0]]
    found = union_targets(own, other, torch.tensor([[0.2], [0.5], [0.9], [0.89]]))
    assert found.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1]]
    several = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    assert union_targets(several, other[:1], torch.tensor([[0.5]])).tolist() == [[1, 1, 0, 0]]
