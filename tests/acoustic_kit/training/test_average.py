import pytest
import torch
from torch import nn

from acoustic_kit.training.average import WeightAverage, recompute_statistics


def one_weight(value: float) -> nn.Module:
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, value)
    return net


def test_average_forgets_its_start_in_short_training() -> None:
    """Weights that grow by one a step: the average of constant decay 0.999 would stay near zero."""
    net = one_weight(0.0)
    average = WeightAverage(net, 0.999)
    expected = None
    for step in range(40):
        nn.init.constant_(net.weight, float(step))
        average.update_parameters(net)
        decay = min(0.999, (step + 1) / (step + 10))
        expected = float(step) if expected is None else decay * expected + (1 - decay) * step
    assert average.module.weight.item() == pytest.approx(expected)
    assert expected is not None
    assert expected > 30


def test_after_the_warm_up_the_decay_is_what_was_asked_for() -> None:
    net = one_weight(0.0)
    average = WeightAverage(net, 0.9)
    for _ in range(200):
        average.update_parameters(net)
    nn.init.constant_(net.weight, 1.0)
    average.update_parameters(net)
    assert average.module.weight.item() == pytest.approx(0.1)


def test_swa_is_the_mean_of_the_ends_of_epochs() -> None:
    net = one_weight(0.0)
    average, found = WeightAverage(net, swa=3), []
    for epoch in range(1, 6):
        for step in range(2):
            nn.init.constant_(net.weight, 10.0 * epoch + step)
            average.after_step(net)
        average.after_epoch(net, epoch)
        found.append(average.module.weight.item())
    assert found == pytest.approx([11, 21, 31, 36, 41])


@pytest.mark.parametrize("options", [{}, {"decay": 0.9, "swa": 3}])
def test_weights_are_averaged_in_one_way(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="decay or from an epoch"):
        WeightAverage(one_weight(0.0), **options)


def test_counters_are_copied_and_the_count_is_resumed() -> None:
    net = nn.BatchNorm1d(2)
    average, again = WeightAverage(net, 0.9), WeightAverage(net, 0.9)
    for _ in range(3):
        net(torch.randn(4, 2))
        average.update_parameters(net)
    assert average.module.num_batches_tracked == 3
    again.load_state_dict(average.state_dict())
    net(torch.randn(4, 2))
    for one in (average, again):
        one.update_parameters(net)
    torch.testing.assert_close(average.state_dict(), again.state_dict())


def test_statistics_are_those_of_the_batches() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval()
    weight = net[0].weight.clone()
    batches = [torch.randn(50, 3) + 5 for _ in range(4)]
    recompute_statistics(net, [(x,) for x in batches])
    inner = torch.cat([net[0](x) for x in batches])
    torch.testing.assert_close(net[1].running_mean, inner.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(net[1].running_var, torch.stack([net[0](x).var(0) for x in batches]).mean(0))
    torch.testing.assert_close(net[0].weight, weight)
    assert not net.training
    assert net[1].momentum == 0.1


def test_a_network_without_batch_normalization_reads_no_batch() -> None:
    def batches():
        raise AssertionError
        yield

    recompute_statistics(nn.Linear(1, 1), batches())


def test_layers_kept_in_eval_mode_keep_their_statistics() -> None:
    class Frozen(nn.BatchNorm1d):
        def train(self, mode: bool = True) -> "Frozen":
            return super().train(False)

    net = nn.Sequential(Frozen(2), nn.BatchNorm1d(2)).eval()
    recompute_statistics(net, [(torch.randn(8, 2) + 3,)])
    torch.testing.assert_close(net[0].running_mean, torch.zeros(2))
    assert (net[1].running_mean > 1).all()
