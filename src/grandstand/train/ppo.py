"""Proximal policy optimisation for one level: two small networks, their optimiser, the update.

Schulman et al., Proximal policy optimization algorithms, arXiv 1707.06347; the details that matter
follow Huang et al., The 37 implementation details of PPO, 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from grandstand.train.network import Passes, Room, initialise, network

if TYPE_CHECKING:
    from grandstand.train.ranks import Ranks

LARGEST_MINIBATCH = 8192
BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-5
ABSURD = 1e6
"""No weight gets there but by diverging; learned ones stay below a hundred."""
CHUNK = 2048
"""Most rows per forward and backward pass: what the second-level cache holds. A minibatch of
several chunks sums their gradients and takes one step, so the step does not depend on it but for
rounding."""


class Adam:
    """Adam (Kingma and Ba, arXiv 1412.6980) over parameters that share one long vector.

    PyTorch's own does the same; importing it costs a second at every start of a worker.

    Attributes:
        values, gradients: (size,) the parameters and their gradients; the modules hold views of
            both.
    """

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.values = torch.cat([item.detach().reshape(-1) for item in parameters])
        self.gradients = torch.zeros_like(self.values)
        self._mean = torch.zeros_like(self.values)
        self._square = torch.zeros_like(self.values)
        self._steps = 0
        first = 0
        for item in parameters:
            part = slice(first, first + item.numel())
            item.data = self.values[part].view_as(item)
            item.grad = self.gradients[part].view_as(item)
            first = part.stop

    def step(self, learning_rate: float) -> None:
        """Move against the gradients."""
        self._steps += 1
        self._mean.lerp_(self.gradients, 1.0 - BETAS[0])
        self._square.mul_(BETAS[1]).addcmul_(self.gradients, self.gradients, value=1.0 - BETAS[1])
        size = learning_rate / (1.0 - BETAS[0] ** self._steps)
        spread = (self._square / (1.0 - BETAS[1] ** self._steps)).sqrt_().add_(ADAM_EPSILON)
        self.values.addcdiv_(self._mean, spread, value=-size)

    def state_dict(self) -> dict[str, Any]:
        """Parameters, moments and the count of steps, as copies."""
        return {
            "values": self.values.clone(),
            "mean": self._mean.clone(),
            "square": self._square.clone(),
            "steps": self._steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there."""
        self.values.copy_(state["values"])
        self._mean.copy_(state["mean"])
        self._square.copy_(state["square"])
        self._steps = state["steps"]


@dataclass(frozen=True)
class PPOSettings:
    """What `Level` needs to know; meanings and bounds as in `TrainingConfig`."""

    learning_rate: float
    epochs: int
    minibatches: int
    clip: float
    max_gradient_norm: float
    entropy_coefficient: float


class Level:
    """One level's Gaussian policy and value function, and how they learn.

    The policy draws z = mean(inputs) + exp(log_std) * noise; what z means is the task's affair.

    Attributes:
        policy: inputs -> mean of z.
        value: inputs -> expected discounted learning reward to come.
        log_std: one number an action dimension.
        caution: 1, halved each time the weights had to be rolled back; scales the learning rate.
    """

    def __init__(
        self,
        inputs: int,
        actions: int,
        hidden: int,
        settings: PPOSettings,
        *,
        bias: tuple[float, ...],
        log_std: float,
        generator: torch.Generator,
    ) -> None:
        self.settings = settings
        self.policy = network(inputs, hidden, actions)
        self.value = network(inputs, hidden, 1)
        initialise(self.policy, 0.01, generator)
        initialise(self.value, 0.1, generator)
        with torch.no_grad():
            self._last_layer().bias.copy_(torch.tensor(bias))
        self.log_std = nn.Parameter(torch.full((actions,), log_std))
        policy = [*self.policy.parameters(), self.log_std]
        border = sum(item.numel() for item in policy)
        self._parts = (slice(border), slice(border, None))
        self.adam = Adam([*policy, *self.value.parameters()])
        room = Room(CHUNK, hidden)
        self._policy, self._value = Passes(self.policy, room), Passes(self.value, room)
        self.caution = 1.0

    def _last_layer(self) -> nn.Linear:
        layer = self.policy[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def act(self, inputs: Tensor, noise: Tensor) -> Tensor:
        """z (rows, actions) for inputs (rows, n) and standard normal noise (rows, actions)."""
        return self._policy.outputs(inputs).addcmul_(noise, self.log_std.detach().exp())

    def values(self, inputs: Tensor) -> Tensor:
        """Values (rows,) of inputs (rows, n)."""
        return self._value.outputs(inputs).squeeze(1)

    def learn(
        self,
        inputs: Tensor,
        z: Tensor,
        noise: Tensor,
        advantages: Tensor,
        values: Tensor,
        *,
        remaining: float,
        generator: torch.Generator,
        ranks: Ranks | None = None,
        between: Callable[[], None] = lambda: None,
    ) -> dict[str, float]:
        """Update both networks on one rollout.

        Args:
            inputs: (rows, n); z and noise: (rows, actions) as drawn; advantages and values:
                (rows,).
            remaining: share of the run still to come, 1..0; scales the learning rate.
            generator: draws the order of the rows.
            ranks: the others that learn from rows of their own in the same call; every step is
                along the gradient of all rows together.
            between: called before each step; what it raises ends the update halfway.

        Returns:
            Means over the minibatches: policy_loss, value_loss, entropy, kl, clip_fraction,
            policy_gradient_norm, value_gradient_norm; explained_variance of the values before; and
            skipped_steps, minibatches whose gradient was NaN or infinite and changed nothing.
        """
        settings = self.settings
        learning_rate = settings.learning_rate * remaining * self.caution
        returns = advantages + values
        if ranks is None:
            counts, place = [len(inputs)], 0
            spread = float(returns.var(correction=0))
            left = float(advantages.var(correction=0))
            mean, deviation = advantages.mean(), advantages.std(correction=0)
        else:
            counts, (of_advantages, of_returns) = ranks.moments(advantages, returns)
            place, spread, left = ranks.rank, of_returns.variance, of_advantages.variance
            mean, deviation = torch.tensor([of_advantages.mean, math.sqrt(left)]).float()
        unexplained = left / spread if not spread <= 1e-12 else 1.0
        normed = (advantages - mean) / (deviation + 1e-8)
        old = (-0.5 * noise.square() - self.log_std.detach()).sum(1)
        # One table, so that a minibatch is gathered a row at a time.
        table = torch.cat([inputs, z, torch.stack([old, normed, returns], 1)], 1)
        sums = torch.zeros(4, dtype=torch.float64)
        norms = [0.0, 0.0]
        steps = skipped = 0
        for rows, size in self._minibatches(counts, place, generator):
            between()
            self.adam.gradients.zero_()
            scale = 1.0 / size
            for chunk in rows.tensor_split(-(-len(rows) // CHUNK)) if len(rows) else ():
                sums += scale * self._backward(table.index_select(0, chunk), scale)
            if ranks is not None:
                ranks.sum(self.adam.gradients)
            lengths = [self._shorten(self.adam.gradients[part]) for part in self._parts]
            if not all(map(math.isfinite, lengths)):
                skipped += 1  # a step along a gradient that is no number would end everything
                continue
            norms = [norm + length for norm, length in zip(norms, lengths, strict=True)]
            self.adam.step(learning_rate)
            steps += 1
        if ranks is not None:
            ranks.sum(sums)
        losses = (sums / max(steps, 1)).tolist()
        entropy = float(self.log_std.detach().sum()) + 0.5 * math.log(2 * math.pi * math.e) * len(
            self.log_std
        )
        return {
            "policy_loss": losses[0],
            "value_loss": losses[1],
            "entropy": entropy,
            "kl": losses[2],
            "clip_fraction": losses[3],
            "explained_variance": 1.0 - unexplained,
            "policy_gradient_norm": norms[0] / max(steps, 1),
            "value_gradient_norm": norms[1] / max(steps, 1),
            "learning_rate": learning_rate,
            "skipped_steps": float(skipped),
        }

    def _shorten(self, gradients: Tensor) -> float:
        """Scale gradients that are too long down to the limit; returns the length they had."""
        length = float(gradients.norm())
        limit = self.settings.max_gradient_norm
        if length > limit:
            gradients.mul_(limit / (length + 1e-6))
        return length

    def _minibatches(
        self, counts: Sequence[int], place: int, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, int]]:
        """This rank's rows of every minibatch, and how many the minibatch has on all ranks.

        Args:
            counts: rows by rank.
            place: which of them are this one's.
        """
        parts = max(self.settings.minibatches, -(-sum(counts) // LARGEST_MINIBATCH))
        parts = min(parts, max(counts))
        # As `tensor_split` cuts: the first ones have one more.
        sizes = [sum(n // parts + (part < n % parts) for n in counts) for part in range(parts)]
        for _ in range(self.settings.epochs):
            rows = torch.randperm(counts[place], generator=generator)
            yield from zip(rows.tensor_split(parts), sizes, strict=True)

    def _backward(self, table: Tensor, scale: float) -> Tensor:
        """Add one chunk's gradients; returns its summed losses (policy, value, KL, clipped).

        With u = (z - mean) / sigma, the ratio r of the new to the old density of z and advantage A,
        the clipped loss is -min(rA, clip(r) A): where that is -rA, its derivative by the mean is
        -rA u / sigma, by log sigma -rA (u^2 - 1); elsewhere it is none.

        Args:
            table: (rows, n + actions + 3) inputs, z, the old log density, advantage, return.
            scale: one over the minibatch's rows.
        """
        actions, clip = len(self.log_std), self.settings.clip
        inputs, z = table[:, : -actions - 3], table[:, -actions - 3 : -3]
        old, advantages, returns = table[:, -3:].unbind(1)
        missed = self._value.forward(inputs).squeeze(1).sub_(returns)
        value_loss = 0.5 * missed.dot(missed)
        self._value.backward(inputs, missed.mul_(scale).unsqueeze(1))

        log_std = self.log_std.detach()
        narrow = (-log_std).exp()
        standard = (z - self._policy.forward(inputs)).mul_(narrow)
        squares = standard.square()
        change = (-0.5 * squares - log_std).sum(1).sub_(old)
        ratio = change.exp()
        gain = advantages * ratio
        held = advantages * ratio.clamp(1.0 - clip, 1.0 + clip)
        policy_loss = -torch.min(gain, held).sum()
        # In this order a gain that is no number stays one, and the step is skipped.
        slope = torch.where(gain > held, 0.0, gain).mul_(-scale).unsqueeze(1)
        assert self.log_std.grad is not None
        self.log_std.grad.add_(squares.sub_(1.0).mul_(slope).sum(0))
        self.log_std.grad.sub_(self.settings.entropy_coefficient * scale * len(table))
        self._policy.backward(inputs, standard.mul_(narrow).mul_(slope))
        # Schulman's low-variance estimate, http://joschu.net/blog/kl-approx.html
        beyond = ratio.sub_(1.0)
        kl = (beyond - change).sum()
        clipped = (beyond.abs() > clip).sum()
        return torch.stack([policy_loss, value_loss, kl, clipped]).double()

    @property
    def finite(self) -> bool:
        """Whether every parameter is a number, and one that a network can have."""
        return bool(self.adam.values.abs().max() < ABSURD)  # False for NaN

    def weights(self) -> dict[str, Any]:
        """What it takes to act: the policy's layers by name and `log_std`, as copies."""
        return {
            "policy": {name: item.clone() for name, item in self.policy.state_dict().items()},
            "log_std": self.log_std.detach().clone(),
        }

    def state_dict(self) -> dict[str, Any]:
        """Networks, standard deviation and Adam's moments, as copies."""
        return {**self.adam.state_dict(), "caution": self.caution}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there."""
        self.adam.load_state_dict(state)
        self.caution = state["caution"]
