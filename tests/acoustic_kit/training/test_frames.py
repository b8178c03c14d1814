"""Windows of recordings, predicted from inputs that overlap."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from acoustic_kit.data.clips import Clips
from acoustic_kit.device import Compute
from acoustic_kit.nn import ClipOutput, FrameNet, FrameOutput
from acoustic_kit.training import Batches, forward, forward_frames, frames
from acoustic_store import FeatureStore

SAMPLES, FRAMES = 40, 4  # of an input
BATCHES = Batches("wave", 3, SAMPLES, "wrap", crops=None)


class Mean(FrameNet):
    """The logit of a frame is its mean plus the mean of the whole input; the attention is the square of its mean."""

    def __init__(self, clip_output: ClipOutput = "max") -> None:
        super().__init__(clip_output)
        self.scale = torch.nn.Parameter(torch.ones(2))

    def frame_output(self, x: torch.Tensor) -> FrameOutput:
        frames = x.unflatten(1, (FRAMES, -1)).mean(dim=2)[..., None]
        return FrameOutput(self.scale * (frames + x.mean(dim=1)[:, None, None]), frames.square().expand(-1, -1, 2))


def waves(n: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).standard_normal((n, SAMPLES)).astype(np.float32))


def clips_of(folder: Path, windows: list[tuple[str, float | None, np.ndarray]]) -> Clips:
    """Clips by file, start in seconds and wave; a second is 40 samples."""
    store = FeatureStore.open(folder / "features.zarr", create=True)
    ids = [f"{number}" for number in range(len(windows))]
    with store.writer("wave-1", "float32", {}) as writer:
        for block in writer.plan([(id, "") for id in ids]):
            block.write(windows[int(id)][2] for id, _ in block.clips)
    ends = [None if start is None else start + len(wave) / SAMPLES for _, start, wave in windows]
    columns = {"id": ids, "path": [w[0] for w in windows], "start": [w[1] for w in windows], "end": ends}
    rows = pl.DataFrame(columns, schema_overrides={"start": pl.Float64, "end": pl.Float64})
    rows = rows.with_columns(label=pl.lit([], dtype=pl.List(pl.String)))
    return Clips(rows, ("a", "b"), "multi", {"wave": store["wave-1"]}, Compute("cpu"))


def by_hand(net: Mean, recording: list[np.ndarray], n_inputs: int) -> np.ndarray:
    """Return probabilities of the windows of a recording, by a loop over all inputs on one axis of frames."""
    wave, samples = torch.from_numpy(np.concatenate(recording)), SAMPLES // FRAMES
    sums, count = torch.zeros(2, len(recording) * FRAMES, 2), torch.zeros(len(recording) * FRAMES, 1)
    for first in range(0, (len(recording) - 1) * FRAMES + 1, FRAMES // n_inputs):
        with torch.no_grad():
            found = net.frame_output(wave[None, first * samples : (first + FRAMES) * samples])
        sums[:, first : first + FRAMES] += torch.stack(found)[:, 0]
        count[first : first + FRAMES] += 1
    output = FrameOutput(*(sums / count).unflatten(1, (-1, FRAMES)))
    return output.pooled(net.clip_output).sigmoid().numpy()


@pytest.mark.parametrize("clip_output", ["max", "attention"])
@pytest.mark.parametrize("n_inputs", [1, 2, 4])
def test_frames_of_overlapping_inputs_are_averaged(tmp_path: Path, clip_output: ClipOutput, n_inputs: int) -> None:
    net, (a, b, c, d, e) = Mean(clip_output), waves(5)
    clips = clips_of(tmp_path, [("x", 1.0, b), ("y", 0.0, d), ("x", 0.0, a), ("x", 2.0, c), ("y", 1.0, e)])
    found = forward_frames(net, clips, BATCHES, n_inputs)
    expected = {"x": by_hand(net, [a, b, c], n_inputs), "y": by_hand(net, [d, e], n_inputs)}
    np.testing.assert_allclose(found[[2, 0, 3]], expected["x"], rtol=1e-6)
    np.testing.assert_allclose(found[[1, 4]], expected["y"], rtol=1e-6)
    if n_inputs == 1:
        np.testing.assert_allclose(found, forward(net, clips, BATCHES), rtol=1e-6)
    else:
        assert abs(found - forward(net, clips, BATCHES)).max() > 0.01


def test_other_clips_are_predicted_as_usual(tmp_path: Path) -> None:
    """Whole files, windows with gaps, windows of another length, and a recording of one window."""
    a, b, c, d, e = waves(5)
    long = np.concatenate([a, b, c])
    windows = [("x", None, a), ("y", None, long), ("z", 0.0, b), ("z", 1.5, c), ("w", 0.0, d[:20]), ("v", 3.0, e)]
    clips, net = clips_of(tmp_path, windows), Mean()
    np.testing.assert_allclose(forward_frames(net, clips, BATCHES, 4), forward(net, clips, BATCHES), rtol=1e-6)


def test_parts_end_between_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = clips_of(tmp_path, [(f"{i // 3}", i % 3, wave) for i, wave in enumerate(waves(9))])
    whole = forward_frames(Mean(), clips, BATCHES, 2)
    monkeypatch.setattr(frames, "AT_ONCE", 4)
    np.testing.assert_array_equal(forward_frames(Mean(), clips, BATCHES, 2), whole)
