"""`torch.compile` for the time of a training, in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from acoustic_kit.errors import AkitError


@contextmanager
def compiled(net: nn.Module, *, enabled: bool) -> Iterator[None]:
    """Compile a network with `torch.compile`, if enabled, until the end of the `with` block; names and weights stay.

    Raises AkitError if the compiler fails.
    """
    if not enabled:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException  # takes seconds to import

    net.compile()
    try:
        yield
    except TorchDynamoException as error:
        reason = " ".join(str(error).split())[:200]
        raise AkitError(f"torch.compile failed: {reason}\nOmit --compile.") from error
    finally:
        net._compiled_call_impl = None  # set by `Module.compile`, which has no inverse
