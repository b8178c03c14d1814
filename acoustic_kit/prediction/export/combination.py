"""The combination of a blend as a torch module, for those whose prediction of a clip depends on the clip alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from acoustic_kit.blending import Blend
from acoustic_kit.blending.arrays import FLOOR
from acoustic_kit.blending.combine import WEIGHTED
from acoustic_kit.errors import UsageError

POINTWISE = ("mean", "geometric", "power", *WEIGHTED)


class Combination(nn.Module):
    """What `Blend.predict` computes, without post-processing of recordings.

    Raises
    ------
    UsageError
        The blend compares clips, or is fitted to classes of several runs.

    """

    weights: Tensor
    factors: Tensor

    def __init__(self, blend: Blend) -> None:
        super().__init__()
        if blend.method not in POINTWISE:
            why = "compares clips" if blend.compares_clips else f"is by the method {blend.method}"
            raise UsageError(
                f"the blend {why}; a graph blends by {', '.join(POINTWISE)}. Export each model by itself: --separate"
            )
        self.method, self.task = blend.method, blend.task
        weights = blend.weights[list(blend.members)]
        equal = torch.full((len(weights),), 1 / len(weights), dtype=torch.float64)
        is_weighted = self.method in (*WEIGHTED, "power")
        self.members = blend.members
        self.register_buffer("weights", torch.tensor(weights) if is_weighted else equal, persistent=False)
        self.is_decided = blend.decision is not None
        factors = torch.ones(1) if blend.decision is None else torch.tensor(blend.decision)
        self.register_buffer("factors", factors.double(), persistent=False)

    def forward(self, runs: Sequence[Tensor]) -> Tensor:
        """Float32 (clips, classes) of each run → float32 (clips, classes)."""
        stack = torch.stack([runs[run] for run in self.members]).double()
        weights = self.weights[:, None, None]
        if self.method == "geometric":
            combined = _from_log_odds((weights * _log_odds(stack, self.task)).sum(dim=0), self.task)
        elif self.method == "power":
            combined = (weights * stack.clamp(min=0).sqrt().sqrt()).sum(dim=0) ** 4
            combined = combined if self.task == "multi" else _normalized(combined)
        else:
            combined = (weights * stack).sum(dim=0)
        if self.is_decided and self.task == "multi":
            combined = _from_log_odds(_log_odds(combined, self.task) + self.factors.log(), self.task)
        elif self.is_decided:
            combined = _normalized(combined * self.factors)
        return combined.float()


def _normalized(p: Tensor) -> Tensor:
    return p / p.sum(dim=1, keepdim=True).clamp(min=1e-300)


def _log_odds(p: Tensor, task: str) -> Tensor:
    if task == "single":
        return p.clamp(FLOOR, 1).log()
    p = p.clamp(FLOOR, 1 - FLOOR)
    return p.log() - torch.log1p(-p)


def _from_log_odds(logits: Tensor, task: str) -> Tensor:
    return logits.sigmoid() if task == "multi" else logits.softmax(dim=1)
