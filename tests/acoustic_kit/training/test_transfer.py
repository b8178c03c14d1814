"""Weights of an earlier run: found, and refused where they do not fit."""

from pathlib import Path

import pytest
import torch
from torch import nn

from acoustic_kit.errors import AkitError
from acoustic_kit.training import save_tensors
from acoustic_kit.training.transfer import load_but, weights_of_run


def net(width: int = 3, classes: int = 2) -> nn.Module:
    return nn.ModuleDict({"body": nn.Linear(width, 4), "head": nn.Linear(4, classes)})


def test_the_only_model_of_a_run_is_found(tmp_path: Path) -> None:
    with pytest.raises(AkitError, match="neither a file of weights nor the folder"):
        weights_of_run(tmp_path)
    model = tmp_path / "folds" / "full" / "model.safetensors"
    save_tensors(model, {"x": torch.zeros(1)})
    assert weights_of_run(tmp_path) == weights_of_run(model) == model
    save_tensors(tmp_path / "folds" / "2" / "model.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(AkitError, match=r"has 2 models(.|\n)*folds/2/model"):
        weights_of_run(tmp_path)


def test_all_but_the_named_parts_are_taken() -> None:
    old, new = net(classes=9), net()
    head = new["head"].weight.clone()
    load_but(new, old.state_dict(), ["head."], Path("old"))
    assert torch.equal(new["body"].weight, old["body"].weight)
    assert torch.equal(new["head"].weight, head)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(AkitError, match=r"old holds .*another size: body.weight is \[4, 5\] there, \[4, 3\] here"):
        load_but(net(), net(width=5).state_dict(), ["head."], Path("old"))
    with pytest.raises(AkitError, match=r"another network's weights: body.bias is in one of the two only"):
        load_but(net(), {"body.weight": torch.zeros(4, 3)}, ["head."], Path("old"))
