"""The combination of a blend as a torch module: `blending.combine` in torch, for graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from acoustic_kit.blending import Blend
from acoustic_kit.blending.arrays import FLOOR
from acoustic_kit.blending.combine import WEIGHTED
from acoustic_kit.blending.ranks import levels
from acoustic_kit.errors import UsageError


class Combination(nn.Module):
    """What `Blend.predict` computes in float64, without post-processing of recordings.

    Raises
    ------
    UsageError
        The prediction of a clip depends on the other clips.

    """

    def __init__(self, blend: Blend) -> None:
        super().__init__()
        if blend.compares_clips:
            raise UsageError(
                f"the blend ({blend.method}) compares clips, and a graph predicts each clip by itself. Export its "
                "models one by one: --separate"
            )
        self.method, self.task, self.members = blend.method, blend.task, blend.members
        self.parameters_of = {name: torch.tensor(values) for name, values in blend.parameters.items()}
        self.margin = float(blend.parameters.get("margin", 0))
        self.weights = torch.tensor(blend.weights[list(blend.members)])
        self.equal = torch.full_like(self.weights, 1 / len(self.weights))
        self.factors = None if blend.decision is None else torch.tensor(blend.decision)

    def forward(self, runs: Sequence[Tensor]) -> Tensor:
        """Float32 (clips, classes) of each run → float32 (clips, classes)."""
        combined = self._combined(torch.stack([runs[run] for run in self.members]).double())
        if self.factors is not None and self.task == "multi":
            combined = self._from_log_odds(self._log_odds(combined) + self.factors.log())
        elif self.factors is not None:
            combined = _normalized(combined * self.factors)
        return combined.float()

    def _combined(self, stack: Tensor) -> Tensor:
        """Float64 (runs, clips, classes) → float64 (clips, classes); see `blending.combine.combine`."""
        if self.method in WEIGHTED:
            return _mean(stack, self.weights)
        methods: dict[str, Callable[[], Tensor]] = {
            "mean": lambda: _mean(stack, self.equal),
            "geometric": lambda: self._geometric(stack),
            "power": lambda: self._power(stack, self.weights),
            "rank": lambda: self._ranked(stack, self.weights),
            "stack": lambda: self._stacked(stack),
            "stack_mean": lambda: self._geometric(torch.stack([self._stacked(stack), _mean(stack, self.equal)])),
            "auto": lambda: self._auto(stack),
        }
        return methods[self.method]()

    def _auto(self, stack: Tensor) -> Tensor:
        held, mean = self.parameters_of, _mean(stack, self.equal)
        if "power" in held:
            found = torch.stack([mean, self._ranked(stack, held["rank"]), self._power(stack, held["power"])])
            return self._power(found, torch.full((3,), 1 / 3, dtype=torch.float64))
        found = torch.stack([mean, self._stacked(stack), *(_mean(stack, held[name]) for name in WEIGHTED)])
        if not self.margin:
            return self._geometric(found)
        odds = self._log_odds(mean)
        departure = self._log_odds(found).mean(dim=0) - odds
        if self.task == "single":
            departure = departure - departure.gather(1, odds.argmax(dim=1, keepdim=True))
        return self._from_log_odds(odds + departure.sign() * (departure.abs() - self.margin).clamp(min=0))

    def _geometric(self, stack: Tensor) -> Tensor:
        return self._from_log_odds(self._log_odds(stack).mean(dim=0))

    def _power(self, stack: Tensor, weights: Tensor) -> Tensor:
        blend = _mean(stack.clamp(min=0).sqrt().sqrt(), weights) ** 4
        return blend if self.task == "multi" else _normalized(blend)

    def _stacked(self, stack: Tensor) -> Tensor:
        x = self._log_odds(stack)
        if self.task == "single":
            x = x - x.mean(dim=2, keepdim=True)
        coefficients = self.parameters_of["coefficients"]
        of_runs = x @ coefficients if coefficients.ndim == 3 else x * coefficients[:, None]
        return self._from_log_odds(of_runs.sum(dim=0) + self.parameters_of["bias"])

    def _ranked(self, stack: Tensor, weights: Tensor) -> Tensor:
        quantiles, scale = self.parameters_of["quantiles"], self.parameters_of["scale"]
        level = torch.tensor(levels(quantiles.shape[1]))[:, None].expand(quantiles.shape[1:])
        ranks = torch.stack([_interpolated(run, own, level) for run, own in zip(stack, quantiles, strict=True)])
        return _interpolated(_mean(ranks, weights), scale[0], scale[1])

    def _log_odds(self, p: Tensor) -> Tensor:
        if self.task == "single":
            return p.clamp(FLOOR, 1).log()
        p = p.clamp(FLOOR, 1 - FLOOR)
        return p.log() - torch.log1p(-p)

    def _from_log_odds(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.task == "multi" else logits.softmax(dim=1)


def _mean(stack: Tensor, weights: Tensor) -> Tensor:
    return (weights[:, None, None] * stack).sum(dim=0)


def _normalized(p: Tensor) -> Tensor:
    return p / p.sum(dim=1, keepdim=True).clamp(min=1e-300)


def _interpolated(values: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """Return what `blending.ranks` interpolates, as a sum over the steps between quantiles, (levels, classes)."""
    ends = torch.zeros_like(old[:1]), torch.ones_like(old[:1])
    old, new = torch.cat([ends[0], old, ends[1]]), torch.cat([ends[0], new, ends[1]])
    width, above = old.diff(dim=0), values[:, None] - old[:-1]  # (clips, levels, classes)
    share = torch.where(width > 0, (above / width.clamp(min=1e-300)).clamp(0, 1), (above >= 0).double())
    return (share * new.diff(dim=0)).sum(dim=1)
