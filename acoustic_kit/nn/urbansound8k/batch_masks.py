"""SpecAugment inside a network: one frequency and one time mask for the whole batch.

D. S. Park et al., SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition, Interspeech 2019.
"""

import torch
from torch import Tensor, nn


class BatchMasks(nn.Module):
    """While training, set one stripe of bands and one of frames to 0, the same in all clips and channels.

    Each forward pass draws new ones from torch's generator, distributed as ``torchaudio``'s masks. Processes that train
    one model together use the masks of the first.

    Parameters
    ----------
    max_bands, max_frames : widths are the integer part of a number drawn uniformly between 0 and this

    """

    def __init__(self, max_bands: int, max_frames: int) -> None:
        super().__init__()
        self.max_bands, self.max_frames = max_bands, max_frames

    def forward(self, x: Tensor) -> Tensor:
        """Float (clips, channels, bands, frames) → the same shape."""
        if not self.training:
            return x
        bands = _stripe(x.shape[-2], self.max_bands, x.device)
        return x.masked_fill(bands[:, None] | _stripe(x.shape[-1], self.max_frames, x.device), 0.0)

    def extra_repr(self) -> str:
        """Return the parameters for ``repr``."""
        return f"max_bands={self.max_bands}, max_frames={self.max_frames}"


def _of_first_process(numbers: Tensor) -> Tensor:
    """Return the numbers of the first process, if several train on parts of the batch."""
    if torch.distributed.is_initialized():
        torch.distributed.broadcast(numbers, src=0)
    return numbers


def _stripe(size: int, max_width: int, device: torch.device) -> Tensor:
    """Return a random mask: bool (size,)."""
    fraction, place = _of_first_process(torch.rand(2, device=device)).unbind()
    width = fraction * min(max_width, size)
    first = (place * (size - width)).floor()
    index = torch.arange(size, device=device)
    return (index >= first) & (index < first + width.floor())
