"""Schedules agree with torch's where torch has them."""

import math

import pytest
import torch

from acoustic_kit.training.schedules import (
    Plateau,
    Progress,
    Schedule,
    by_epoch,
    constant,
    cosine,
    cosine_restarts,
    one_cycle,
    step_decay,
    warmup,
)

STEPS, EPOCHS = 7, 9


def rates(schedule: Schedule) -> list[float]:
    return [schedule(Progress(step, STEPS, EPOCHS)) for step in range(STEPS * EPOCHS)]


def torch_rates(make: type, **options: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = make(optimizer, **options)
    found = []
    for _ in range(STEPS * EPOCHS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_constant_never_changes() -> None:
    assert set(rates(constant(0.1))) == {0.1}


def test_cosine_is_torchs() -> None:
    expected = torch_rates(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=STEPS * EPOCHS, eta_min=0.01)
    assert rates(cosine(0.1, 0.01)) == pytest.approx(expected)


def test_one_cycle_has_torchs_ends_and_peak() -> None:
    found = rates(one_cycle(0.1, warmup=0.3))
    expected = torch_rates(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=STEPS * EPOCHS, pct_start=0.3)
    assert found[0] == pytest.approx(expected[0])
    assert max(found) == pytest.approx(0.1, rel=1e-2)
    assert found == pytest.approx(expected, abs=0.005)  # torch counts one step less in each half
    assert one_cycle(0.1)(Progress(STEPS * EPOCHS, STEPS, EPOCHS)) == pytest.approx(1e-6)
    assert not any(math.isnan(rate) for rate in found)


def by_torch_epoch(make: type, **options: float) -> list[float]:
    """What a torch schedule gives that is stepped once an epoch, a rate a batch."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler, found = make(optimizer, **options), []
    for _ in range(EPOCHS):
        found += [optimizer.param_groups[0]["lr"]] * STEPS
        optimizer.step()
        scheduler.step()
    return found


def test_by_epoch_steps_once_an_epoch_as_torchs_schedules_do() -> None:
    schedulers = torch.optim.lr_scheduler
    assert rates(by_epoch(cosine(0.1, 1e-6))) == pytest.approx(
        by_torch_epoch(schedulers.CosineAnnealingLR, T_max=EPOCHS, eta_min=1e-6)
    )
    assert rates(by_epoch(cosine_restarts(0.1, first=3, final=1e-6))) == pytest.approx(
        by_torch_epoch(schedulers.CosineAnnealingWarmRestarts, T_0=3, T_mult=2, eta_min=1e-6)
    )
    assert rates(step_decay(0.1, epochs=4)) == pytest.approx(by_torch_epoch(schedulers.StepLR, step_size=4, gamma=0.1))


def test_warmup_is_linear_then_follows_the_schedule() -> None:
    found = rates(warmup(cosine(0.1), 2, start=0.01))
    assert found[0] == pytest.approx(0.001)
    assert found[STEPS] == pytest.approx(0.1 * (0.01 + 0.99 / 2))
    rest = [cosine(0.1)(Progress(step, STEPS, EPOCHS - 2)) for step in range(STEPS * (EPOCHS - 2))]
    assert found[2 * STEPS :] == pytest.approx(rest)
    assert rates(warmup(cosine(0.1), 0)) == rates(cosine(0.1))


def test_plateau_is_torchs() -> None:
    losses = [1.0, 0.9, 0.9, 0.95, 0.90005, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.7]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    # torch cuts after more than `patience` epochs without gain, Keras after as many.
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2, threshold=1e-4, threshold_mode="abs")
    for count, loss in enumerate(losses, start=1):
        theirs.step(loss)
        progress = Progress(count * STEPS, STEPS, 20, valid_losses=tuple(losses[:count]))
        assert Plateau(0.1, patience=3)(progress) == pytest.approx(optimizer.param_groups[0]["lr"])
