"""The networks' written-out passes against PyTorch's own."""

from __future__ import annotations

import pytest
import torch

from grandstand.train.network import Passes, Room, initialise, network
from grandstand.train.ppo import Level, PPOSettings


def test_outputs_and_gradients_are_autograds() -> None:
    draws = torch.Generator().manual_seed(1)
    net = network(5, 16, 3)
    initialise(net, 1.0, draws)
    inputs, slope = torch.randn(50, 5, generator=draws), torch.randn(50, 3, generator=draws)
    outputs = net(inputs)
    outputs.backward(slope)
    expected = [item.grad.clone() for item in net.parameters() if item.grad is not None]
    assert len(expected) == 6
    net.zero_grad(set_to_none=False)
    passes = Passes(net, Room(64, 16))
    for part in (slice(0, 30), slice(30, 50)):  # gradients add up
        torch.testing.assert_close(passes.forward(inputs[part]), outputs[part])
        passes.backward(inputs[part], slope[part])
    for item, wanted in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(item.grad, wanted)


def test_any_number_of_rows() -> None:
    draws = torch.Generator().manual_seed(1)
    net = network(5, 16, 3)
    initialise(net, 1.0, draws)
    for item in net.parameters():
        item.grad = torch.zeros_like(item)
    passes = Passes(net, Room(8, 16))
    inputs = torch.randn(21, 5, generator=draws)
    torch.testing.assert_close(passes.outputs(inputs), net(inputs).detach())
    assert passes.outputs(inputs[:0]).shape == (0, 3)


@pytest.mark.parametrize("entropy", [0.0, 0.01])
def test_the_losses_gradient_is_autograds(entropy: float) -> None:
    """Policies far enough apart that some ratios are clipped, upwards and downwards."""
    clip, rows, draws = 0.2, 200, torch.Generator().manual_seed(2)
    settings = PPOSettings(3e-3, 1, 1, clip, 0.5, entropy)
    level = Level(5, 2, 16, settings, bias=(0.1, 0.2), log_std=-0.5, generator=draws)
    inputs, noise = torch.randn(rows, 5, generator=draws), torch.randn(rows, 2, generator=draws)
    z = level.act(inputs, noise)
    advantages, returns = torch.randn(2, rows, generator=draws)
    old = (-0.5 * noise.square() - level.log_std.detach()).sum(1)
    level.adam.values.add_(0.05 * torch.randn(level.adam.values.shape, generator=draws))

    standard = (z - level.policy(inputs)) * (-level.log_std).exp()
    change = (-0.5 * standard.square() - level.log_std).sum(1) - old
    ratio = change.exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    losses = [
        -torch.min(advantages * ratio, advantages * clipped).sum(),
        0.5 * (level.value(inputs).squeeze(1) - returns).square().sum(),
        (ratio - 1 - change).sum().detach(),
        ((ratio - 1).abs() > clip).sum(),
    ]
    assert 0.1 < float(losses[3]) / rows < 0.9
    level.adam.gradients.zero_()
    loss = losses[0] + losses[1] - entropy * level.log_std.sum() * rows
    (loss / rows).backward()
    expected = level.adam.gradients.clone()

    level.adam.gradients.zero_()
    table = torch.cat([inputs, z, torch.stack([old, advantages, returns], 1)], 1)
    told = level._backward(table, 1 / rows)
    torch.testing.assert_close(level.adam.gradients, expected, atol=1e-6, rtol=1e-4)
    assert told.tolist() == pytest.approx([float(item.detach()) for item in losses], rel=1e-4)


@pytest.mark.parametrize("column", range(10))
def test_whatever_is_no_number_shows_in_the_gradient(column: int) -> None:
    draws = torch.Generator().manual_seed(3)
    settings = PPOSettings(3e-3, 1, 1, 0.2, 0.5, 0.0)
    level = Level(5, 2, 16, settings, bias=(0.1, 0.2), log_std=-0.5, generator=draws)
    table = torch.randn(20, 10, generator=draws)
    table[7, column] = torch.nan
    level.adam.gradients.zero_()
    level._backward(table, 1 / 20)
    assert not level.adam.gradients.norm().isfinite()
