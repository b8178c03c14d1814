"""Any image network of timm as a backbone for spectrograms.

R. Wightman, PyTorch Image Models, github.com/huggingface/pytorch-image-models.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from acoustic_kit.errors import AkitError, UsageError

_UNPOOLED: dict[str, Any] = {"global_pool": ""}  # option of models whose head can leave the map as it is
_ANY_SIZE: dict[str, Any] = {"dynamic_img_size": True, "dynamic_img_pad": True}  # of some transformers


def timm_weights_name(name: str) -> str | None:
    """Return the name on the Hugging Face hub of the weights that timm publishes for a model, if there are any.

    Raises UsageError for a model that timm does not have, or a tag that the model does not have.
    """
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(name):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(f"timm {timm.__version__} has no model {name!r}.{hint}")
    tagged = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in tagged:
        raise UsageError(f"timm {timm.__version__} has no weights {name!r}: it has {', '.join(tagged) or 'none'}.")
    published = timm.get_pretrained_cfg(name)
    return published.hf_hub_id if published is not None else None


class TimmBackbone(nn.Module):
    """A model of timm without its classifier: spectrograms → maps.

    Parameters
    ----------
    name : of the model, such as ``tf_efficientnetv2_s``, or with the tag of its weights,
        ``tf_efficientnetv2_s.in21k_ft_in1k``
    n_channels : of the spectrograms
    size : bands and frames of the spectrograms; convolutional models take others too
    drop_path : fraction of residual branches that are dropped in training; 0 for models that have no such option

    Raises
    ------
    UsageError
        timm has no such model, or it cannot read spectrograms of this size.

    """

    def __init__(self, name: str, n_channels: int, size: tuple[int, int], *, drop_path: float = 0.0) -> None:
        super().__init__()
        timm_weights_name(name)
        self.name = name
        self._options: dict[str, Any] = {"in_chans": n_channels, "num_classes": 0}
        if drop_path:
            self._options["drop_path_rate"] = drop_path
        self.net, self.width = self._fitting(size)

    def _fitting(self, size: tuple[int, int]) -> tuple[nn.Module, int]:
        """Return the model, built with the first options with which it yields a map, and the width of that.

        Raises UsageError if there are none.
        """
        import timm

        options = [_UNPOOLED, {}]
        if timm.get_pretrained_cfg(self.name).fixed_input_size:
            options = [_UNPOOLED | _ANY_SIZE, _UNPOOLED | {"img_size": size}]
        given, reasons = self._options, []
        for one in options:
            self._options = given | one
            try:
                net = timm.create_model(self.name, **self._options)
                with torch.no_grad():
                    maps = self._maps(net.eval(), torch.zeros(1, given["in_chans"], *size))
            except Exception as error:  # many kinds: options that a model lacks, sizes that it cannot divide
                reasons.append((str(error).strip().splitlines() or [type(error).__name__])[0].rstrip("."))
                continue
            return net.train(), maps.shape[1]
        raise UsageError(
            f"timm's {self.name} cannot read spectrograms of {size[0]} bands × {size[1]} frames: "
            f"{'; '.join(dict.fromkeys(reasons))}. Use another backbone."
        )

    def forward(self, x: Tensor) -> Tensor:
        """Float (clips, n_channels, bands, frames) → (clips, width, fewer bands, fewer frames)."""
        return self._maps(self.net, x)

    def _maps(self, net: nn.Module, x: Tensor) -> Tensor:
        """Return the output of the model as maps, whatever its layout."""
        found: Tensor = net(x) if _UNPOOLED.items() <= self._options.items() else net.forward_features(x)  # type: ignore[operator]
        if found.ndim == 4:
            return found.permute(0, 3, 1, 2) if getattr(net, "output_fmt", "NCHW") == "NHWC" else found
        bands, frames = net.get_submodule("patch_embed").dynamic_feat_size(x.shape[-2:])  # type: ignore[operator]
        tokens = found[:, getattr(net, "num_prefix_tokens", 0) :]
        return tokens.transpose(1, 2).reshape(len(x), -1, bands, frames)

    def load_pretrained(self, path: Path) -> None:
        """Load the weights of timm's model of this name, except its classifier, from a file of safetensors.

        timm adapts the first convolution to the channels and positions to the size: one channel gets the sum over
        colors, more get repeated colors.

        Raises AkitError if the file cannot be read, or has the weights of another model. No weight stays random.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise AkitError(f"{path} cannot be read as safetensors: {error}.") from error
        try:
            fresh, trained = self._copy(None), self._copy(tensors)
        except (RuntimeError, KeyError) as error:  # of other names or shapes
            reason = str(error).strip().rpartition("\n")[2].strip()
            raise AkitError(f"{path} has no weights of timm's {self.name}: {reason}") from error
        loaded = dict(trained.named_parameters())
        for name, tensor in fresh.named_parameters():  # those that start as a constant say nothing
            if tensor.numel() > 1 and tensor.std() > 0 and torch.equal(tensor, loaded[name]):
                raise AkitError(f"{path} has no weights of timm's {self.name}: {name} is missing.")
        self.net.load_state_dict(trained.state_dict())

    def _copy(self, tensors: dict[str, Tensor] | None) -> nn.Module:
        """Return another such model, with these weights and the same random ones where they lack some."""
        import timm

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            overlay = {"state_dict": tensors} if tensors else None
            net: nn.Module = timm.create_model(
                self.name, tensors is not None, pretrained_cfg_overlay=overlay, **self._options
            )
        return net
