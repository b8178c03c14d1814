"""Waves → features → probabilities and embedding, as torch modules that `torch.onnx.export` exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from acoustic_kit.features.embed.families import as_frames
from acoustic_kit.prediction.export.input_crops import InputCrops
from acoustic_kit.task import Task
from acoustic_kit.training.evaluation import View, to_probabilities

Outputs = tuple[Tensor, Tensor]  # of networks: probabilities, float32 (clips, classes); embedding, float32 (clips, d)


class FoldNetwork(nn.Module):
    """The trained network of a fold, as `acoustic_kit.training.forward` calls it.

    Parameters
    ----------
    net : inputs, and the side input if there is one → logits
    last : its last linear layer, whose input is the embedding; None: it has none
    views : x → x each; results are averaged over them

    """

    def __init__(self, net: nn.Module, last: nn.Linear | None, views: Sequence[View], task: Task) -> None:
        super().__init__()
        self.net, self.views, self.task = net.eval(), tuple(views), task
        self._taken: list[Tensor] = []
        if last is not None:
            last.register_forward_pre_hook(lambda _, inputs: self._taken.append(inputs[0]))

    def forward(self, x: Tensor, weights: Tensor, side: Tensor | None) -> Outputs:
        """Return the outputs of clips, averaged over views and crops.

        Parameters
        ----------
        x : float32 (clips · crops, …), the crops of a clip adjacent
        weights : float32 (clips, crops), of the crops in the mean of a clip
        side : float32 (clips, columns), if the network has a second input

        """
        more = [] if side is None else [side.repeat_interleave(weights.shape[1], dim=0)]
        found = [self._of_view(view(x), more) for view in self.views]
        crops = [torch.stack(outputs).mean(dim=0) for outputs in zip(*found, strict=True)]
        if weights.shape[1] == 1:
            return crops[0], crops[1]
        probabilities, embedding = ((one.reshape(*weights.shape, -1) * weights[:, :, None]).sum(dim=1) for one in crops)
        return probabilities, embedding

    def _of_view(self, x: Tensor, more: list[Tensor]) -> Outputs:
        self._taken.clear()
        probabilities = to_probabilities(self.net(x, *more).float(), self.task)
        embedding = as_frames(self._taken[-1]).mean(dim=1) if self._taken else probabilities[:, :0]
        self._taken.clear()
        return probabilities, embedding


@dataclass(frozen=True)
class FoldPlan:
    """A fold's network, its input, and where the parts of its input come from."""

    network: FoldNetwork
    crops: InputCrops
    feature: str  # key of the feature that is cut
    side: slice | None  # columns of the graph's side input


@dataclass(frozen=True)
class FrontEnd:
    """The layer of a feature, which all networks that read the feature share."""

    layer: nn.Module
    rate: int  # Hz, of the waves that it takes


class Networks(nn.Module):
    """All networks of a run or a blend.

    Parameters
    ----------
    members : the folds of each member
    combine : of the members' probabilities, (clips, classes) each → (clips, classes); None for one member

    Attributes
    ----------
    keys : of the features that the networks read

    """

    def __init__(self, members: Sequence[Sequence[FoldPlan]], combine: nn.Module | None) -> None:
        super().__init__()
        self.members, self.combine = members, combine
        folds = [fold for member in members for fold in member]
        self.keys = tuple(dict.fromkeys(fold.feature for fold in folds))
        self.networks = nn.ModuleList(fold.network for fold in folds)
        self.crops = nn.ModuleList({id(fold.crops): fold.crops for fold in folds}.values())

    def forward(self, values: Sequence[Tensor], frames: Sequence[Tensor], side: Tensor | None = None) -> Outputs:
        """Return the outputs of clips.

        Parameters
        ----------
        values : float32 (clips, …, frames) of each of the features, arbitrary after the end of shorter clips
        frames : int64 (clips,) of each of the features, frames of each clip
        side : float32 (clips, columns), if a network has a second input

        """
        of_feature = dict(zip(self.keys, zip(values, frames, strict=True), strict=True))
        inputs: dict[tuple[str, int], Outputs] = {}
        probabilities, embeddings = [], []
        for member in self.members:
            of_folds = []
            for fold in member:
                name = fold.feature, id(fold.crops)
                if name not in inputs:
                    inputs[name] = fold.crops(*of_feature[fold.feature])
                columns = None if fold.side is None or side is None else side[:, fold.side]
                found, embedding = fold.network(*inputs[name], columns)
                of_folds.append(found)
                embeddings.append(embedding)
            probabilities.append(torch.stack(of_folds).mean(dim=0))
        combined = probabilities[0] if self.combine is None else self.combine(probabilities)
        return combined, torch.cat(embeddings, dim=1)


class ExportGraph(nn.Module):
    """A run or a blend: front ends and networks.

    Parameters
    ----------
    fronts : key of a feature → its layer
    rates : sample rates of the input waves, Hz

    """

    def __init__(self, fronts: Mapping[str, FrontEnd], rates: Sequence[int], networks: Networks) -> None:
        super().__init__()
        self.rates, self.networks = tuple(rates), networks
        self.front_rates = [fronts[key].rate for key in networks.keys]
        self.layers = nn.ModuleList(fronts[key].layer for key in networks.keys)

    def forward(self, waves: Sequence[Tensor], lengths: Sequence[Tensor], side: Sequence[Tensor] = ()) -> Outputs:
        """Return the outputs of clips.

        Parameters
        ----------
        waves : float32 (clips, samples) for each of the rates, zeros after the end of shorter clips
        lengths : int64 (clips,) or (1,) for each of the rates, samples of each clip
        side : one float32 (clips, columns), if a network has a second input

        """
        sounds = {
            rate: (wave, length.expand(wave.shape[0]).clamp(1, wave.shape[1]))
            for rate, wave, length in zip(self.rates, waves, lengths, strict=True)
        }
        found = [layer(*sounds[rate]) for layer, rate in zip(self.layers, self.front_rates, strict=True)]
        values, frames = zip(*found, strict=True)
        outputs: Outputs = self.networks(values, frames, side[0] if side else None)
        return outputs
