"""What is asked of each agent's landscape, resolved: which points, from how many pairs; a value that is handed down."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from closerlook.agents.agent import Agent, Regime
from closerlook.diagnostics.common.checks import step_regime
from closerlook.diagnostics.landscape.options import Options
from closerlook.diagnostics.subjects import Subject
from closerlook.errors import InputError
from closerlook.simulation.records import Sampling

ON_THE_LINE = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Multiples of the step that a line always has, where they are within the range."""
LINE_TIMES = 10
"""How many times the pairs of the plane's points those of the line have, where nothing else is asked."""
LARGEST_EVALUATION = 50_000_000
"""Pairs times points of a job of surrogates at most: some minutes. Each job samples its batch again."""
SURROGATE_COST = 0.02
"""What a surrogate costs for each pair and point, in pairs simulated: measured, 0.014 (Hopper) to 0.022 (Humanoid)."""


@dataclass(frozen=True)
class Plan:
    """All that is the same for every agent of a call.

    Parameters
    ----------
    options : Options
        As asked.
    sampling : Sampling
        How each stream is sampled.
    multiples : tuple of ndarray
        Along the two axes of the plane; the second has zero alone where one axis was asked for.
    line : ndarray
        Multiples of the first axis alone.
    step : Regime
        How the step's batch is gathered: ``n_envs`` streams of ``n_steps``.
    towards : sequence of Agent
        Where the axis ``difference`` leads: one, or one for each agent.
    """

    options: Options
    sampling: Sampling
    multiples: tuple[np.ndarray, np.ndarray]
    line: np.ndarray
    step: Regime
    towards: Sequence[Agent]

    @property
    def paired(self) -> bool:
        """Whether all points share their draws."""
        return self.options.draws == "common"

    @property
    def plane(self) -> np.ndarray:
        """Multiples of the plane's points, the second axis fastest: (G1 G2, 2)."""
        return np.stack(np.meshgrid(*self.multiples, indexing="ij"), axis=-1).reshape(-1, 2)

    @property
    def line_points(self) -> np.ndarray:
        """Multiples of the line's points: (L, 2)."""
        return np.stack([self.line, np.zeros_like(self.line)], axis=1)

    @property
    def plane_streams(self) -> int:
        """Streams of each point of the plane."""
        return self.streams(self.options.pairs)

    @property
    def line_streams(self) -> int:
        """Streams of each point of the line."""
        return self.streams(self.line_pairs)

    @property
    def line_pairs(self) -> int:
        """Pairs of each point of the line, as asked."""
        return LINE_TIMES * self.options.pairs if self.options.line_pairs is None else self.options.line_pairs

    def streams(self, pairs: int) -> int:
        """Whole streams that hold so many pairs."""
        return max(1, -(-pairs // self.sampling.n_steps))

    @property
    def uses_gradient(self) -> bool:
        """Whether an axis is the gradient."""
        return "gradient" in self.options.axes

    @property
    def pairs(self) -> int:
        """State-action pairs simulated of each agent, without what finishes episodes."""
        points = len(self.plane) * self.plane_streams + len(self.line) * self.line_streams
        batches = 2 * self.step.batch_pairs + self.streams(self.options.heldout_pairs) * self.sampling.n_steps
        gradient = self.streams(self.options.gradient_pairs) * self.sampling.n_steps if self.uses_gradient else 0
        return points * self.sampling.n_steps + batches + gradient

    @property
    def work(self) -> float:
        """What is to be done of each agent, in pairs simulated: those, and surrogates at all points."""
        heldout = self.streams(self.options.heldout_pairs) * self.sampling.n_steps
        # a batch is sampled again in every job that evaluates some of the points on it
        again = sum((len(self.surrogate_parts(pairs)) - 1) * pairs for pairs in (self.step.batch_pairs, heldout))
        evaluated = (len(self.plane) + len(self.line)) * (self.step.batch_pairs + heldout)
        return self.pairs + again + SURROGATE_COST * evaluated

    def surrogate_parts(self, pairs: int) -> list[range]:
        """Divide all points, the plane's and then the line's, into those of jobs that each sample so many pairs."""
        points, most = len(self.plane) + len(self.line), max(1, LARGEST_EVALUATION // pairs)
        return [range(first, min(first + most, points)) for first in range(0, points, most)]


def plan(subjects: Sequence[Subject], options: Options) -> Plan:
    """Lay out the points.

    Parameters
    ----------
    subjects : sequence of Subject
        Agents of one call, which are built alike.
    options : Options
        What was asked for.

    Raises
    ------
    InputError
        Where the axis ``difference`` leads to agents that are built otherwise, or to another number of them.
    """
    towards = options.towards
    if len(towards) not in {0, 1, len(subjects)}:
        what = f"the axis difference leads to {len(towards)} agents from {len(subjects)}"
        raise InputError(what, "say where to: one agent (--towards ITERATION), or one for each")
    shapes = subjects[0].agent.policy.parameter_shapes
    if any(agent.policy.parameter_shapes != shapes for agent in towards):
        raise InputError("the agent that the axis difference leads to is built differently", "give one built alike")
    first = _multiples(options)
    second = first if len(options.axes) > 1 else np.zeros(1)
    low, high = options.range
    line = np.unique(np.concatenate([first, [one for one in ON_THE_LINE if low <= one <= high]]))
    step = step_regime(subjects[0].regime, options.step_pairs)
    return Plan(options, subjects[0].sampling, (first, second), line, step, towards)


def _multiples(options: Options) -> np.ndarray:
    """Return equal steps through the range, and zero: gains are measured from there."""
    spaced = np.linspace(*options.range, options.grid)
    # the agent itself has to be among the points: 0 exactly, not 1e-17
    nearest = np.abs(spaced).argmin()
    if abs(spaced[nearest]) < 1e-12:
        spaced[nearest] = 0.0
        return spaced
    return np.sort(np.append(spaced, 0.0))
