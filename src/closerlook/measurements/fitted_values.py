"""Values fitted to Monte Carlo returns of the current policy: the best critic there is, and the best baseline.

====== ==========================================================
symbol meaning
====== ==========================================================
N      pairs
J      fits: the value, and the baseline where scores are known
E      passes through the pairs
====== ==========================================================
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.agents.policies import MLPValue, Value
from closerlook.algorithms.adam import PopulationAdam
from closerlook.algorithms.batch import Evaluation, evaluate_critic
from closerlook.measurements.value_shards import Shards, Transitions
from closerlook.nn.backward import Array, LayerLayout, StackedMLP
from closerlook.nn.networks import MLP
from closerlook.randomness import generator
from closerlook.simulation.records import Rollout

FITS = ("fitted", "optimal")
"""``fitted``: least squares, so the expected return of a state. ``optimal``: weighted by the squared norm of the score,
so the baseline of the state with the least variance of single pairs (Greensmith et al., 2004, theorem 8)."""

OWN_TARGET = "own_target"
"""Least squares to V_old + A, what the agent's own critic regresses on, in place of returns."""

ROWS = 1024
"""Pairs at a time in sums over all of them, which take several copies."""
FLAT = 1e-6
"""Components that vary by less than this are not standardized."""


@dataclass(frozen=True)
class FitSettings:
    """How values are fitted.

    Parameters
    ----------
    hidden : tuple of int
        Units of the hidden layers, tanh.
    minibatch : int
        Pairs of a step.
    rate : float
        Adam's learning rate to begin with.
    reduction : float
        What the rate is multiplied by when a pass has bettered nothing on the held-out streams.
    reductions : int
        How often, before it ends.
    most_passes : int
        Passes through the pairs, at most.
    """

    hidden: tuple[int, ...] = (64, 64)
    minibatch: int = 512
    rate: float = 3e-3
    reduction: float = 0.3
    reductions: int = 5
    most_passes: int = 40


@dataclass(frozen=True)
class Critic:
    """A critic apart from any agent.

    Parameters
    ----------
    value : Value
        Its architecture.
    parameters : mapping of str to Tensor
        Its own, without a population axis.
    """

    value: Value
    parameters: Mapping[str, Tensor]

    def judge(self, agents: Agent, sampled: Rollout) -> Evaluation:
        """Evaluate it on the rollout of a population of one, in place of that one's own critic.

        Parameters
        ----------
        agents : Agent
            A population of one.
        sampled : Rollout
            What it did.
        """
        return evaluate_critic(self.instead(agents), sampled, agents.bootstrap)

    def instead(self, agents: Agent) -> Agent:
        """Return a population of one with this critic in place of its own."""
        others = {name: tensor for name, tensor in agents.state.items() if not name.startswith("value.")}
        own = {f"value.{name}": tensor[None] for name, tensor in self.parameters.items()}
        return replace(agents, value=self.value, state={**others, **own})


def fit_values(
    folder: str, keys: Sequence[str], streams: int, settings: FitSettings, seed: int, *, own_target: bool = False
) -> dict[str, np.ndarray]:
    """Fit values to the transitions of shards.

    Parameters
    ----------
    folder, keys, streams
        See `closerlook.measurements.value_shards.Shards`.
    settings : FitSettings
        How.
    seed : int
        Keys the initial weights and the order of pairs.
    own_target : bool
        Whether another value is fitted to V_old + A of the same pairs, from the same weights in the same order.

    Returns
    -------
    dict of str to ndarray
        ``<fit>.<layer>.weight`` and ``.bias`` for each of `FITS` that could be had, and of `OWN_TARGET`, float32;
        ``held_out`` (E, J), the held-out squared error of `FITS` after each pass, over the variance of the held-out
        returns; ``pairs`` fitted to.
    """
    found = _Fit(Shards(folder, keys, streams), settings, seed, FITS).run()
    if own_target:
        other = _Fit(Shards(folder, keys, streams, "gae_targets"), settings, seed, (OWN_TARGET,)).run()
        found |= {name: array for name, array in other.items() if name.startswith(f"{OWN_TARGET}.")}
    return found


def fitted_critics(answer: Mapping[str, np.ndarray]) -> dict[str, Critic]:
    """Make critics of what `fit_values` answers, by name."""
    found = {}
    for fit in (*FITS, OWN_TARGET):
        start = f"{fit}."
        parameters = {
            name.removeprefix(start): torch.from_numpy(array)
            for name, array in answer.items()
            if name.startswith(start)
        }
        if parameters:
            weights = [tensor for name, tensor in parameters.items() if name.endswith("weight")]
            sizes = (weights[0].shape[1], *(weight.shape[0] for weight in weights))
            found[fit] = Critic(MLPValue(MLP(tuple(int(size) for size in sizes))), parameters)
    return found


class _Moments:
    """Sums and sums of squares of observations and returns, (obs + 1,), float64, window by window."""

    def __init__(self) -> None:
        self._count, self._sums = 0, np.zeros(())

    def add(self, window: Transitions) -> None:
        """Add a window, a few rows at a time; rounded as if its rows were added one by one."""
        sums = np.zeros((1, 2 * (window.observations.shape[1] + 1)))
        for first in range(0, len(window), ROWS):
            rows = slice(first, first + ROWS)
            table = np.concatenate([window.observations[rows], window.targets[rows, None]], axis=1, dtype=np.float64)
            sums = np.concatenate([sums, np.concatenate([table, np.square(table)], axis=1)]).sum(axis=0, keepdims=True)
        self._sums = self._sums + sums[0]
        self._count += len(window)

    def scale(self) -> "_Scale":
        """Return mean and deviation."""
        sums, squares = np.split(self._sums, 2)
        mean = np.asarray(sums / self._count)
        # Var = E x^2 - (E x)^2; rounding may leave it a little below zero
        deviation = np.sqrt(np.maximum(squares / self._count - np.square(mean), 0.0))
        deviation = np.where(deviation > FLAT, deviation, 1.0)
        return _Scale(mean[:-1], deviation[:-1], float(mean[-1]), float(deviation[-1]))


@dataclass(frozen=True)
class _Scale:
    """Mean and deviation of inputs (obs,) and of targets."""

    mean: Array
    deviation: Array
    target_mean: float
    target_deviation: float

    def fold(self, parameters: Mapping[str, Array], last: int) -> dict[str, Array]:
        """Return parameters of one network that takes observations and gives targets as they are."""
        found = {name: array.astype(np.float64) for name, array in parameters.items()}
        # W ((x - m) / s) + b = (W / s) x + (b - (W / s) m), and the last layer's outputs times the targets' deviation
        found["0.weight"] = found["0.weight"] / self.deviation
        found["0.bias"] = found["0.bias"] - found["0.weight"] @ self.mean
        found[f"{last}.weight"] = found[f"{last}.weight"] * self.target_deviation
        found[f"{last}.bias"] = found[f"{last}.bias"] * self.target_deviation + self.target_mean
        return {name: array.astype(np.float32) for name, array in found.items()}


class _Inputs:
    """Standardized observations of a minibatch and a column of ones, in memory that is taken once and used again."""

    def __init__(self, scale: _Scale, most: int) -> None:
        width = len(scale.mean)
        self._scale, self._picked = scale, np.empty((most, width), np.float32)
        self._exact, self._made = np.empty((most, width)), np.ones((most, width + 1), np.float32)

    def of(self, observations: Array, rows: Array, fits: int) -> Array:
        """Return chosen rows of observations (N, obs) for each fit, (J, M, obs + 1), valid until the next call."""
        picked, exact, made = (memory[: len(rows)] for memory in (self._picked, self._exact, self._made))
        # numpy goes by way of a copy unless indices outside are clipped; there are none
        np.take(observations, rows, axis=0, out=picked, mode="clip")
        np.subtract(picked, self._scale.mean, out=exact)
        np.divide(exact, self._scale.deviation, out=exact)
        made[:, :-1] = exact
        return np.broadcast_to(made, (fits, *made.shape))


class _Fit:
    """One fit in progress; both networks take the same steps on the same pairs, weighted differently."""

    def __init__(self, shards: Shards, settings: FitSettings, seed: int, names: Sequence[str]) -> None:
        self._shards, self._settings, self._seed = shards, settings, seed
        moments, windows = _Moments(), 0
        for window in shards.windows(range(len(shards))):
            moments.add(window)
            windows += 1
        self._only_window = window if windows == 1 else None
        del window
        self._scale = moments.scale()
        self._inputs = _Inputs(self._scale, settings.minibatch)
        self._held_out = shards.held_out()
        self._names = names if self._held_out.norms is not None else names[:1]
        self._fits = len(self._names)
        norms = self._held_out.norms
        self._mean_norm = float(norms.mean()) if norms is not None and norms.any() else 1.0
        self._network = MLP((self._held_out.observations.shape[1], *settings.hidden, 1))

    def run(self) -> dict[str, np.ndarray]:
        """Descend until passes better nothing."""
        settings, pairs = self._settings, 0
        start = self._network.initialize(generator(self._seed, "fitted values"), "orthogonal", output_gain=0.1)
        best = {name: torch.stack([tensor] * self._fits) for name, tensor in start.items()}
        self._set_out(best)
        errors = [self._errors()]
        rate, reductions, least = settings.rate, 0, errors[0]
        for number in range(settings.most_passes):
            pairs = self._pass(number, rate)
            errors.append(self._errors())
            better = errors[-1] < least
            now = self._adam.result()
            best = {name: _choose(better, now[name], tensor) for name, tensor in best.items()}
            least = np.where(better, errors[-1], least)
            # the rate is lowered, from the best parameters so far, until that too betters nothing
            if not better.any():
                if reductions == settings.reductions:
                    break
                reductions, rate = reductions + 1, rate * settings.reduction
                self._set_out(best)
        folded = {
            f"{fit}.{name}": array
            for at, fit in enumerate(self._names)
            for name, array in self._scale.fold(
                {name: tensor[at].numpy() for name, tensor in best.items()}, self._network.n_layers - 1
            ).items()
        }
        return {**folded, "held_out": np.array(errors), "pairs": np.array(pairs)}

    def _set_out(self, parameters: Mapping[str, Tensor]) -> None:
        layout = LayerLayout(self._network, self._network.parameter_shapes)
        self._adam = PopulationAdam(parameters, {}, 1e-8, layout)
        self._mlp = StackedMLP(self._network, layout.layers(self._adam.vector), layout.layers(self._adam.gradient))

    def _windows(self, order: Sequence[int]) -> Iterator[Transitions]:
        return iter([self._only_window]) if self._only_window is not None else self._shards.windows(order)

    def _pass(self, number: int, rate: float) -> int:
        """Take every pair once, in minibatches; return how many there are."""
        # shards in a new order each pass, pairs in a new order within each window
        draws, pairs = generator(self._seed, "fitted values", stream=1 + number), 0
        for window in self._windows([int(at) for at in draws.permutation(len(self._shards))]):
            order = draws.permutation(len(window))
            for first in range(0, len(order), self._settings.minibatch):
                self._step(window, order[first : first + self._settings.minibatch], rate)
            pairs += len(window)
        return pairs

    def _step(self, window: Transitions, rows: Array, rate: float) -> None:
        values = self._mlp.forward(self._inputs.of(window.observations, rows, self._fits))[:, 0]
        # d/dV of the weighted mean square over a minibatch of M pairs: 2 w (V - y) / M
        slopes = (values - self._targets(window.targets[rows])) * self._weights(window, rows) * (2.0 / len(rows))
        self._mlp.backward(np.ascontiguousarray(slopes[:, None], np.float32))
        self._adam.step(rate)

    def _targets(self, returns: Array) -> Array:
        return ((returns - self._scale.target_mean) / self._scale.target_deviation).astype(np.float32)

    def _weights(self, window: Transitions, rows: Array) -> Array:
        """Return how much each pair counts for each fit, (J, M)."""
        ones = np.ones_like(window.targets[rows])
        if self._fits == 1 or window.norms is None:
            return ones[None]
        # b* = E[|g|^2 G | s] / E[|g|^2 | s]: least squares weighted by |grad log pi|^2
        return np.stack([ones, window.norms[rows] / self._mean_norm])

    def _errors(self) -> Array:
        """Return each fit's weighted squared error on the held-out pairs, standardized targets: (J,)."""
        sums = np.zeros((2, self._fits))
        for first in range(0, len(self._held_out), self._settings.minibatch):
            rows = np.arange(first, min(first + self._settings.minibatch, len(self._held_out)))
            values = self._mlp.forward(self._inputs.of(self._held_out.observations, rows, self._fits))[:, 0]
            weights = self._weights(self._held_out, rows)
            errors = np.square(values - self._targets(self._held_out.targets[rows]), dtype=np.float64)
            sums += [(errors * weights).sum(axis=1), weights.sum(axis=1)]
        return np.asarray(sums[0] / sums[1])


def _choose(better: Array, left: Tensor, right: Tensor) -> Tensor:
    """Take the left tensor (J, ...) for the fits that are better, the right for the others."""
    chosen = torch.from_numpy(better).reshape(-1, *[1] * (left.ndim - 1))
    return torch.where(chosen, left, right)
