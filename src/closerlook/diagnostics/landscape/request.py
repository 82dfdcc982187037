"""What is asked of a landscape, checked before anything is simulated."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.identity import probe
from closerlook.algorithms.rules import ALGORITHMS
from closerlook.diagnostics.common.checks import find_environment, require_alike, require_fit, sampling_of, step_regime
from closerlook.errors import InputError
from closerlook.execution import content_key
from closerlook.measurements.computed_steps import LARGEST_BATCH
from closerlook.simulation.engine import describe_environment
from closerlook.simulation.records import Sampling

AxisName = Literal["step", "gradient", "random", "filter", "difference"]
"""``step``: the update the agent's algorithm makes of a batch; 1 is the whole of it. ``gradient``: of the surrogate,
from a pool of its own, as long as the step. ``random``: Gaussian, of norm 2. ``filter``: the same with each filter as
long as the agent's. ``difference``: to the policy parameters of another agent, which are at 1; whatever else acts, like
statistics of observations, stays the first agent's."""
ANOTHER_BATCH = "give another batch (--step-pairs, --seed) or algorithm (--algo)"
NOWHERE: Mapping[str, tuple[str, str]] = {
    "step": ("the update of the agent does not move its policy", ANOTHER_BATCH),
    "gradient": ("the gradient, or the step that it is made as long as, is zero", ANOTHER_BATCH),
    "random": ("the random direction is zero", "give another --seed"),
    "filter": ("all filters of the agent are zero", "give the axis random"),
    "difference": ("the agent that the axis difference leads to has the same policy", "give another --towards"),
}
"""Why an axis leads nowhere, and what to do."""
Draws = Literal["common", "independent"]

ON_THE_LINE = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Multiples of the step that a line always has, where they are within the range."""
LARGEST_GRID = 1001
LINE_TIMES = 10
"""How many times the pairs of the plane's points those of the line have, where nothing else is asked."""
LARGEST_EVALUATION = 50_000_000
"""Pairs times points of a job of surrogates at most: some minutes. Each job samples its batch again."""
SURROGATE_COST = 0.02
"""What a surrogate costs for each pair and point, in pairs simulated: measured, 0.014 (Hopper) to 0.022 (Humanoid)."""


@dataclass(frozen=True)
class Wishes:
    """What a caller may choose beside agents and environment, as given; see `landscape` for each."""

    pairs: int
    line_pairs: int | None
    heldout_pairs: int
    gradient_pairs: int
    grid: int
    range: tuple[float, float]
    axes: Sequence[str]
    step_pairs: int | None
    algorithm: str | None
    draws: str
    seed: int


@dataclass(frozen=True)
class Request:
    """All that is the same for every agent of a call.

    Parameters
    ----------
    environment : EnvironmentSpec
        Where agents act.
    description : mapping
        What that is, for keys.
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
    wishes : Wishes
        As given.
    """

    environment: EnvironmentSpec
    description: Mapping[str, Any]
    sampling: Sampling
    multiples: tuple[np.ndarray, np.ndarray]
    line: np.ndarray
    step: Regime
    towards: Sequence[Agent]
    wishes: Wishes

    @property
    def seed(self) -> int:
        """Root seed."""
        return self.wishes.seed

    @property
    def paired(self) -> bool:
        """Whether all points share their draws."""
        return self.wishes.draws == "common"

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
        return self.streams(self.wishes.pairs)

    @property
    def line_streams(self) -> int:
        """Streams of each point of the line."""
        return self.streams(self.line_pairs)

    @property
    def line_pairs(self) -> int:
        """Pairs of each point of the line, as asked."""
        return LINE_TIMES * self.wishes.pairs if self.wishes.line_pairs is None else self.wishes.line_pairs

    def streams(self, pairs: int) -> int:
        """Whole streams that hold so many pairs."""
        return max(1, -(-pairs // self.sampling.n_steps))

    @property
    def uses_gradient(self) -> bool:
        """Whether an axis is the gradient."""
        return "gradient" in self.wishes.axes

    @property
    def pairs(self) -> int:
        """State-action pairs simulated of each agent, without what finishes episodes."""
        points = len(self.plane) * self.plane_streams + len(self.line) * self.line_streams
        batches = 2 * self.step.batch_pairs + self.streams(self.wishes.heldout_pairs) * self.sampling.n_steps
        gradient = self.streams(self.wishes.gradient_pairs) * self.sampling.n_steps if self.uses_gradient else 0
        return points * self.sampling.n_steps + batches + gradient

    @property
    def cost(self) -> float:
        """What is to be done of each agent, in pairs simulated: those, and surrogates at all points."""
        heldout = self.streams(self.wishes.heldout_pairs) * self.sampling.n_steps
        again = sum((len(self.surrogate_parts(pairs)) - 1) * pairs for pairs in (self.step.batch_pairs, heldout))
        evaluated = (len(self.plane) + len(self.line)) * (self.step.batch_pairs + heldout)
        return self.pairs + again + SURROGATE_COST * evaluated

    def surrogate_parts(self, pairs: int) -> list[range]:
        """Divide all points, the plane's and then the line's, into those of jobs that each sample so many pairs."""
        points, most = len(self.plane) + len(self.line), max(1, LARGEST_EVALUATION // pairs)
        return [range(first, min(first + most, points)) for first in range(0, points, most)]

    def settings(self, agents: Sequence[Agent]) -> dict[str, Any]:
        """Return what decides the results, for the run folder."""
        return {
            "agents": [content_key(probe(agent)) for agent in agents],
            "environment": self.environment.to_json(),
            "towards": [content_key(probe(agent)) for agent in self.towards],
            **asdict(self.wishes),
            "line_pairs": self.line_pairs,
            "range": list(self.wishes.range),
            "axes": list(self.wishes.axes),
        }


def prepare(
    agents: Sequence[Agent],
    environment: str | EnvironmentSpec | None,
    towards: Sequence[Agent],
    wishes: Wishes,
) -> Request:
    """Check what was asked, and fill in what was not.

    Raises
    ------
    InputError
        Where agents differ in what they must share, or a choice means nothing.
    NonFiniteError
        Where an agent's parameters are not finite.
    """
    require_alike(agents)
    _require_sensible(wishes)
    _require_axes(wishes.axes)
    _require_towards(agents, towards, needed="difference" in wishes.axes)
    spec = find_environment(agents, environment)
    description = describe_environment(spec)
    require_fit(agents, description)
    first = _multiples(wishes)
    second = first if len(wishes.axes) > 1 else np.zeros(1)
    low, high = wishes.range
    line = np.unique(np.concatenate([first, [one for one in ON_THE_LINE if low <= one <= high]]))
    step = step_regime(agents[0].regime, wishes.step_pairs)
    sampling = sampling_of(agents, description)
    return Request(spec, description, sampling, (first, second), line, step, tuple(towards), wishes)


def _multiples(wishes: Wishes) -> np.ndarray:
    """Return equal steps through the range, and zero: gains are measured from there."""
    spaced = np.linspace(*wishes.range, wishes.grid)
    nearest = np.abs(spaced).argmin()
    if abs(spaced[nearest]) < 1e-12:
        spaced[nearest] = 0.0
        return spaced
    return np.sort(np.append(spaced, 0.0))


def _require_sensible(wishes: Wishes) -> None:
    for name in ("pairs", "line_pairs", "heldout_pairs", "gradient_pairs"):
        number = getattr(wishes, name)
        if number is not None and number < 2:
            raise InputError(f"{name.replace('_', '-')} is {number}", "give 2 or more")
    if wishes.step_pairs is not None and not 2 <= wishes.step_pairs <= LARGEST_BATCH:
        raise InputError(
            f"a step from {wishes.step_pairs} pairs cannot be computed", f"give 2 to {LARGEST_BATCH:,} pairs"
        )
    low, high = wishes.range
    if not (math.isfinite(low) and math.isfinite(high) and low <= 0.0 <= high and low < high):
        raise InputError(
            f"the range {low:g} to {high:g} does not hold the agent itself", "give a range that holds 0, like 0 3"
        )
    if not 2 <= wishes.grid <= LARGEST_GRID:
        raise InputError(f"a grid of {wishes.grid} points an axis cannot be laid", f"give 2 to {LARGEST_GRID}")
    if wishes.algorithm is not None and wishes.algorithm not in ALGORITHMS:
        raise InputError(f"there is no algorithm {wishes.algorithm!r}", f"choose from {', '.join(ALGORITHMS)}")
    if wishes.draws not in get_args(Draws):
        raise InputError(f"draws are {wishes.draws!r}", f"choose from {', '.join(get_args(Draws))}")


def _require_axes(axes: Sequence[str]) -> None:
    unknown = [axis for axis in axes if axis not in get_args(AxisName)]
    if unknown:
        raise InputError(f"there is no axis {unknown[0]!r}", f"choose from {', '.join(get_args(AxisName))}")
    if len(axes) not in {1, 2}:
        raise InputError(f"{len(axes)} axes were given", "give one for a line, two for a plane")
    if len(axes) == 2 and axes[0] == axes[1] and axes[0] in {"step", "gradient", "difference"}:
        raise InputError(f"both axes are {axes[0]}", "give two that differ")


def _require_towards(agents: Sequence[Agent], towards: Sequence[Agent], *, needed: bool) -> None:
    if not needed:
        if towards:
            raise InputError(
                "--towards was given, and no axis is difference", "give --axes step difference, or neither"
            )
        return
    if not towards:
        raise InputError("the axis difference leads nowhere", "say to which checkpoint (--towards ITERATION)")
    if len(towards) not in {1, len(agents)}:
        what = f"the axis difference leads to {len(towards)} agents from {len(agents)}"
        raise InputError(what, "say where to: one agent (--towards ITERATION), or one for each")
    shapes = agents[0].policy.parameter_shapes
    if any(agent.policy.parameter_shapes != shapes for agent in towards):
        raise InputError("the agent that the axis difference leads to is built differently", "give one built alike")
