"""EAT's whole chain of augmentations on a batch, against the network's own training step on that batch.

The step is forward, loss, backward, clipping and AdamW. The chain is all that the recipe does to a batch of training,
mixing too; it depends on chance, so it is the mean over many batches. Goal: a ratio of at most 10 % on a CPU, 3 % on a
GPU. Usage: augment.py [recipe [clips]], by default eat_s_esc50 and 32.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from acoustic_kit.device import Compute
from acoustic_kit.recipe.end_to_end_audio.wave_chain import WaveAugmentations
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.training import Batch, BatchRng, ClipRng, make_fabric
from acoustic_kit.training.clip_rng import digests
from acoustic_kit.training.losses import smoothed_cross_entropy, summed

CLASSES, STEPS, CHAINS = 50, 4, 48
MIXING = ("mixup", "timemix", "freqmix", "phmix")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall time, and the processor's, which other work on the machine disturbs less."""
    wall, own = time.perf_counter(), time.process_time()
    work()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - own


def main() -> None:
    recipe = load_recipe(sys.argv[1] if len(sys.argv) > 1 else "eat_s_esc50")
    clips = int(sys.argv[2]) if len(sys.argv) > 2 else 32
    s, fabric = recipe.settings({"batch_size": clips}), make_fabric(Compute())
    net = recipe.build_model(CLASSES).train()
    net, optimizer = fabric.setup(net, recipe.module.adamw(net.parameters(), s))
    batch = Batch(
        (torch.randn(clips, 1, s.seq_len, device=DEVICE) * 0.1,),
        torch.nn.functional.one_hot(torch.arange(clips, device=DEVICE) % CLASSES, CLASSES).float(),
    )
    loss, ids = summed(smoothed_cross_entropy, clips), digests([str(i) for i in range(clips)])

    def step() -> None:
        fabric.backward(loss(net(batch.x), batch.targets))
        fabric.clip_gradients(net, optimizer, max_norm=s.clip_norm)
        optimizer.step()
        optimizer.zero_grad()

    def chain(number: int, augment: WaveAugmentations) -> None:
        form = recipe.module.training_batches(s.model_copy(update={"augment": augment}), clips)
        rng, x = ClipRng(f"batch {number}", ids, DEVICE), batch.x
        for one in form.augment:
            x = one(x, rng)
        own = ClipRng(f"batch {number}", np.zeros(1, np.uint64), DEVICE)
        form.batch_augment(Batch((x,), batch.targets), BatchRng(s.epoch_mix + 1, rng, own))

    forms = {"whole chain": s.augment}
    forms |= {"labels kept": s.augment.model_copy(update={"mix": 0.0, "resample": 0.0})}
    none = dict.fromkeys(("amp", "neg", "tshift", "tmask", "ampsegment", "cycshift", "noise", "resample"), 0.0)
    forms |= {"resampling": WaveAugmentations(**{**none, "resample": 1.0, "mix": 0.0})}
    forms |= {name: WaveAugmentations(**none, **{other: other == name for other in MIXING}) for name in MIXING}
    step()
    for form in forms.values():
        chain(0, form)
    steps: list[tuple[float, float]] = []
    chains: dict[str, list[tuple[float, float]]] = {name: [] for name in forms}
    for part in range(STEPS):  # interleaved: a noisy machine is noisy for both
        steps.append(seconds(step))
        for number in range(CHAINS // STEPS):
            for name, form in forms.items():
                if name == "whole chain" or number == 0:
                    chains[name].append(seconds(lambda n=part * 100 + number, f=form: chain(n, f)))
    print(f"{recipe.name}, {clips} clips of {s.seq_len} samples, {DEVICE.type}, {torch.get_num_threads()} threads")
    print(f"{'':16}{'wall ms':>10}{'ratio':>8}{'CPU ms':>10}{'ratio':>8}")
    step_wall, step_own = (statistics.median(times) for times in zip(*steps, strict=True))
    print(f"{'training step':16}{1e3 * step_wall:10.1f}{'':8}{1e3 * step_own:10.1f}  (median of {len(steps)})")
    for name, found in chains.items():
        wall, own = (statistics.mean(times) for times in zip(*found, strict=True))
        line = f"{name:16}{1e3 * wall:10.1f}{wall / step_wall:8.1%}{1e3 * own:10.1f}{own / step_own:8.1%}"
        print(f"{line}  (mean of {len(found)})")


if __name__ == "__main__":
    main()
