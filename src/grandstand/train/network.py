"""The small networks of the household's agents, and their gradients, written out.

Backpropagation (Rumelhart, Hinton and Williams, Learning representations by back-propagating
errors, Nature 323, 1986) through three layers is eight products of matrices. Written out, into
memory that is used again and again, it takes half of what autograd takes (docs/decisions/
learning.md); the tests hold it against autograd.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_mask = torch.ops.aten.threshold_backward.grad_input


def network(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two ReLU layers of `hidden` units."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
    )


def initialise(net: nn.Sequential, last_gain: float, generator: torch.Generator) -> None:
    """Orthogonal weights (Saxe et al., arXiv 1312.6120) of gain sqrt 2, the last layer's of its
    own; biases zero."""
    layers = _layers(net)
    for layer in layers:
        gain = last_gain if layer is layers[-1] else math.sqrt(2.0)
        nn.init.orthogonal_(layer.weight, gain, generator=generator)
        nn.init.zeros_(layer.bias)


def _layers(net: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in net if isinstance(layer, nn.Linear)]


class Room:
    """Memory in which networks of one width take turns; a pass leaves what its way back needs.

    Attributes:
        rows: most rows of one pass.
    """

    def __init__(self, rows: int, hidden: int) -> None:
        self.rows = rows
        self.first, self.second, self.spare = torch.empty(3, rows, hidden)


class Passes:
    """Forward and backward through a `network`.

    Made once its parameters have gradients and stay where they are: it works on the memory they
    have now.
    """

    def __init__(self, net: nn.Sequential, room: Room) -> None:
        self._room = room
        self._layers = [
            (layer.weight.data, layer.weight.data.t(), layer.bias.data, *_gradients(layer))
            for layer in _layers(net)
        ]

    def outputs(self, inputs: Tensor) -> Tensor:
        """What the network makes of any number of rows: (rows, inputs) to (rows, outputs)."""
        if len(inputs) <= self._room.rows:
            return self.forward(inputs)
        return torch.cat([self.forward(part) for part in torch.split(inputs, self._room.rows)])

    def forward(self, inputs: Tensor) -> Tensor:
        """The same for at most `Room.rows` rows; `backward` may follow."""
        (_, w1, b1, _, _), (_, w2, b2, _, _), (_, w3, b3, _, _) = self._layers
        room, rows = self._room, len(inputs)
        first = torch.addmm(b1, inputs, w1, out=room.first[:rows]).relu_()
        second = torch.addmm(b2, first, w2, out=room.second[:rows]).relu_()
        return torch.addmm(b3, second, w3)

    def backward(self, inputs: Tensor, slope: Tensor) -> None:
        """Add the gradients of all parameters; nothing else has used the room since `forward`.

        Args:
            inputs: those of `forward`.
            slope: (rows, outputs) the loss's derivatives by the outputs.
        """
        (_, _, _, dw1, db1), (w2, _, _, dw2, db2), (w3, _, _, dw3, db3) = self._layers
        room, rows = self._room, len(inputs)
        first, second, spare = room.first[:rows], room.second[:rows], room.spare[:rows]
        dw3.addmm_(slope.t(), second)
        db3.add_(slope.sum(0))
        slope = torch.mm(slope, w3, out=spare)
        _mask(slope, second, 0, grad_input=slope)
        dw2.addmm_(slope.t(), first)
        db2.add_(slope.sum(0))
        slope = torch.mm(slope, w2, out=second)
        _mask(slope, first, 0, grad_input=slope)
        dw1.addmm_(slope.t(), inputs)
        db1.add_(slope.sum(0))


def _gradients(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    return layer.weight.grad, layer.bias.grad
