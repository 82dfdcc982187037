"""What is asked of a measurement of gradients, checked before anything is simulated."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import xarray as xr

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.identity import probe
from closerlook.algorithms.rules import rule_of
from closerlook.diagnostics.common.checks import find_environment, require_alike, require_fit, sampling_of
from closerlook.diagnostics.common.layout import Found
from closerlook.diagnostics.gradients.alternatives import Alternative, Baseline, alternatives, weightings
from closerlook.diagnostics.gradients.dataset import build_dataset
from closerlook.diagnostics.gradients.findings import truth_pairs
from closerlook.diagnostics.gradients.looks import JOB_STREAMS, Target
from closerlook.diagnostics.gradients.steps import StepPlan, plan_steps
from closerlook.errors import InputError
from closerlook.execution import content_key
from closerlook.measurements.stream_sums import Question
from closerlook.measurements.truths import COVARIATES, Truth, continuation_steps
from closerlook.nn.score_squares import layer_slices
from closerlook.simulation.engine import describe_environment
from closerlook.simulation.records import Sampling
from closerlook.statistics.pool import Pool, plan_pool

Advantages = Literal["normalised", "raw"]
"""Whether advantages are standardised within the pairs of each estimate, or taken as they are."""


MUCH_MEMORY = 2_000_000_000
"""Bytes of one agent's answers from which on a warning is due."""


@dataclass(frozen=True)
class Request:
    """All that is the same for every agent of a call."""

    environment: EnvironmentSpec
    description: Mapping[str, Any]
    pool: Pool
    advantages: Advantages
    others: tuple[Alternative, ...]
    truths: tuple[Truth, ...]
    seed: int
    sampling: Sampling
    steps: StepPlan | None

    @property
    def question(self) -> Question:
        """What is asked of each stream."""
        return Question(self.pool.beginnings, weightings(self.others), self.truths)

    def answer_bytes(self, agent: Agent) -> int:
        """Estimate the memory of an agent's answers."""
        parameters = sum(tensor.numel() for tensor in agent.policy_parameters.values())
        rows = len(self.question.weightings) + (len(self.truths) + COVARIATES if self.truths else 0)
        return self.pool.answer_bytes(parameters, rows)

    @property
    def pairs(self) -> int:
        """State-action pairs simulated of each agent."""
        steps = 0 if self.steps is None else self.steps.streams * self.steps.batches
        return self.pool.pairs + steps * self.pool.n_steps

    def settings(self, agents: Sequence[Agent], wishes: "Wishes") -> dict[str, Any]:
        """Return what decides the results, for the run folder."""
        return {
            "agents": [content_key(probe(agent)) for agent in agents],
            "environment": self.environment.to_json(),
            "pairs": wishes.pairs,
            "estimates": wishes.estimates,
            "sizes": None if wishes.sizes is None else list(wishes.sizes),
            "advantages": self.advantages,
            "alternatives": [other.name for other in self.others],
            "truths": list(self.truths),
            "precision": [wishes.precision, wishes.precision_size],
            "steps": None if self.steps is None else asdict(self.steps),
            "seed": self.seed,
        }

    def dataset(self, agents: Sequence[Agent], found: Sequence[Found]) -> xr.Dataset:
        """Label what was found of the agents."""
        coordinates: dict[str, list[Any]] = {
            "alternative": [other.name for other in self.others],
            "truth": list(self.truths),
            "truth_pair": [" and ".join(pair) for pair in truth_pairs(self.truths)],
            "layer": list(layer_slices(agents[0].policy.parameter_shapes)),
        }
        attributes = {"environment": self.environment.id, "advantages": self.advantages, "seed": self.seed}
        if self.steps is not None:
            coordinates["step_size"] = list(self.steps.sizes)
            algorithms = {rule_of(agent, self.steps.algorithm).algorithm for agent in agents}
            attributes["step_algorithm"] = ", ".join(sorted(algorithms))
        return build_dataset(agents, found, coordinates, self.pool, attributes)


@dataclass(frozen=True)
class Wishes:
    """What a caller may choose beside agents and environment, as given; see `gradient_quality` for each."""

    pairs: int
    estimates: int
    sizes: Sequence[int] | None
    advantages: Advantages | None
    lambdas: Sequence[float]
    baselines: Sequence[Baseline]
    truths: Sequence[Truth]
    computed_steps: bool
    step_sizes: Sequence[int] | None
    algo: str | None
    seed: int
    precision: float | None = None
    precision_size: int | None = None

    def target(self, batch_pairs: int) -> Target | None:
        """Return the interval that is to be sampled to; None where the pairs are fixed."""
        if self.precision is None:
            return None
        return Target(self.precision, self.precision_size or batch_pairs)


def prepare(agents: Sequence[Agent], environment: str | EnvironmentSpec | None, wishes: Wishes) -> Request:
    """Check what was asked, and fill in what was not.

    Raises
    ------
    InputError
        Where pairs are too few for the sizes, agents differ in what they must share, or a choice means nothing.
    NonFiniteError
        Where an agent's parameters are not finite.
    """
    require_alike(agents)
    _require_known(wishes.truths, agents)
    _require_critics(wishes.lambdas, agents)
    spec = find_environment(agents, environment)
    advantages = _advantages(agents, wishes.advantages)
    others = alternatives(wishes.lambdas, wishes.baselines, normalize=advantages == "normalised")
    pool = _pool(agents[0].regime, wishes)
    description = describe_environment(spec)
    require_fit(agents, description)
    truths = tuple(truth for truth in get_args(Truth) if truth in wishes.truths)
    request = Request(
        spec,
        description,
        pool,
        advantages,
        others,
        truths,
        wishes.seed,
        sampling_of(agents, description),
        _steps(agents, wishes),
    )
    _warn_of_memory(request.answer_bytes(agents[0]))
    return request


def _pool(regime: Regime, wishes: Wishes) -> Pool:
    """Divide the pool; the size whose interval is sampled to is among the sizes, default or asked for."""
    batch, target = (regime.n_steps, regime.batch_pairs), wishes.target(regime.batch_pairs)
    pool = plan_pool(wishes.pairs, wishes.estimates, batch, wishes.sizes)
    if target is None:
        return pool
    sizes = [size.asked for size in pool.sizes]
    if target.size not in sizes:
        pool = plan_pool(wishes.pairs, wishes.estimates, batch, [*sizes, target.size])
    return replace(pool, job_streams=JOB_STREAMS)


def _warn_of_memory(needed: int) -> None:
    """Say so where one agent's answers alone, which cannot be measured in parts, take very much memory."""
    if needed > MUCH_MEMORY:
        mend = "fewer --pairs, --sizes below a stream, --lambdas or --truths take less"
        warnings.warn(f"what is kept of each agent takes about {needed / 1e9:.1f} GB of memory; {mend}", stacklevel=3)


def _steps(agents: Sequence[Agent], wishes: Wishes) -> StepPlan | None:
    if not (wishes.computed_steps or wishes.step_sizes or wishes.algo):
        return None
    for agent in agents:
        rule_of(agent, wishes.algo)
    most = wishes.pairs // wishes.estimates
    return plan_steps(agents[0].regime, most, wishes.estimates, wishes.step_sizes, wishes.algo)


def _advantages(agents: Sequence[Agent], asked: Advantages | None) -> Advantages:
    if asked not in (None, "normalised", "raw"):
        raise InputError(f"advantages cannot be {asked!r}", "give normalised or raw")
    normalise = {agent.normalize_advantages for agent in agents}
    if asked is None and len(normalise) > 1:
        raise InputError("some of the agents standardise advantages, some do not", "give advantages")
    return asked or ("normalised" if normalise == {True} else "raw")


def _require_critics(lambdas: Sequence[float], agents: Sequence[Agent]) -> None:
    if lambdas and any(agent.value is None for agent in agents):
        what = "an agent without a critic has no lambda: it is measured with returns in place of advantages"
        raise InputError(what, "leave out the lambdas")


def _require_known(truths: Sequence[Truth], agents: Sequence[Agent]) -> None:
    unknown = [truth for truth in truths if truth not in get_args(Truth)]
    if unknown:
        raise InputError(f"there is no truth {unknown[0]!r}", f"choose from {' and '.join(get_args(Truth))}")
    endless = [agent.gamma for agent in agents if continuation_steps(agent.gamma) is None]
    if "discounted_return" in truths and endless:
        what = f"discounted returns do not come to an end with gamma {endless[0]:g}"
        raise InputError(what, "leave out the truth discounted_return; episode_return needs no discount")
