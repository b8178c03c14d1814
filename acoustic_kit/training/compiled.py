"""`torch.compile` where it pays, which a few real steps tell."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn

WORTH_TRYING = 300.0  # seconds of training that are left: compiling itself takes one or two minutes
GAIN = 1.05  # of a step, from which on it is kept
STEPS = 5  # that are measured of each

Backend = str | Callable[..., Callable]


def compile_if_faster(
    net: nn.Module,
    step: Callable[[], object],
    steps_left: int,
    *,
    worth_trying: float = WORTH_TRYING,
    backend: Backend = "inductor",
) -> str | None:
    """Compile a network in place, where its training steps are then faster, and say what was found.

    Weights, buffers, gradients and random numbers are afterwards what they were. What goes wrong in compiling is no
    reason to fail: the network stays as it is.

    Parameters
    ----------
    step : goes through the network forwards and backwards once, with a batch as the training has them
    steps_left : of the training; where they take less than `worth_trying` seconds, nothing is tried: None is returned
    backend : of `torch.compile`

    """
    state = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.random.fork_rng():
        try:
            plain = _seconds(step)
            if plain * steps_left < worth_trying:
                return None
            return _tried(net, step, plain, backend)
        finally:
            net.load_state_dict(state)  # batch normalisation has moved its statistics
            net.zero_grad()


def uncompiled(net: nn.Module) -> nn.Module:
    """The network as it was before it was compiled in place."""
    net._compiled_call_impl = None  # what `Module.compile` sets; torch has no inverse of it
    return net


def _tried(net: nn.Module, step: Callable[[], object], plain: float, backend: Backend) -> str:
    began = time.perf_counter()
    try:
        net.compile(backend=backend)
        _seconds(step, 2)  # the second one may compile for other shapes
        took = time.perf_counter() - began
        compiled = _seconds(step)
    except Exception as error:  # whatever a compiler may say
        uncompiled(net)
        return f"not compiled: torch.compile failed ({' '.join(str(error).split())[:200]})"
    if compiled * GAIN > plain:
        uncompiled(net)
        return f"not compiled: {plain / compiled:.2f} times as fast a step"
    return f"compiled: {plain / compiled:.2f} times as fast a step, after {took:.0f} s"


def _seconds(step: Callable[[], object], n: int = STEPS) -> float:
    """The median time of a step."""
    times = []
    for _ in range(n):
        began = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return median(times)
