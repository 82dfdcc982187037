"""What is asked of a measurement of values, checked before anything is simulated."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.identity import probe
from closerlook.algorithms.rules import has_own_rule
from closerlook.diagnostics.common.checks import find_environment, require_alike, require_fit, sampling_of
from closerlook.errors import InputError
from closerlook.execution import content_key
from closerlook.measurements.fitted_values import FitSettings
from closerlook.measurements.restarted_values import restart_steps
from closerlook.measurements.truths import continuation_steps
from closerlook.measurements.value_sums import ValueQuestion
from closerlook.measurements.weightings import OWN, Weighting
from closerlook.simulation.engine import describe_environment
from closerlook.simulation.records import Sampling
from closerlook.simulation.restarts import require_restarts
from closerlook.statistics.pool import Pool, plan_pool

LAMBDAS = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 1.0)
"""The default sweep."""
SMALLEST_SIZE = 512
"""The first of the default sizes."""
SWEEP_GROUPS = 64
"""Groups of streams, at least, that the sweep keeps where the pool has as many."""
LARGEST_SWEEP_BLOCK = 8
FEWEST_FITTED_STREAMS = 2


@dataclass(frozen=True)
class Wishes:
    """What a caller may choose beside agents and environment, as given; see `value_prediction` for each."""

    pairs: int
    fit_pairs: int
    estimates: int
    sizes: Sequence[int] | None
    lambdas: Sequence[float] | None
    updates: int
    restarts: int
    restart_copies: int
    seed: int


@dataclass(frozen=True)
class Request:
    """All that is the same for every agent of a call."""

    environment: EnvironmentSpec
    description: Mapping[str, Any]
    sampling: Sampling
    pool: Pool
    fit_pool: Pool | None
    fit: FitSettings
    lambdas: tuple[float, ...]
    wishes: Wishes

    @property
    def seed(self) -> int:
        """Root seed."""
        return self.wishes.seed

    def question(self, agent: Agent, fits: Sequence[str]) -> ValueQuestion:
        """Return what is asked of each stream of one agent, for which so many values were fitted.

        Parameters
        ----------
        agent : Agent
            With a critic or without.
        fits : sequence of str
            Of `closerlook.measurements.fitted_values.FITS`.
        """
        critic = [OWN] if agent.value is not None else []
        fitted = ["fitted"] if "fitted" in fits else []
        own = [*critic, Weighting(baseline="zero"), *(Weighting(baseline=name) for name in fitted)]
        baselines = ["zero", *(["critic"] if critic else []), *fits]
        complete = [Weighting(baseline=name, complete=True) for name in baselines]
        best = Weighting(baseline=fitted[0] if fitted else "critic", complete=True)
        sweep = [*(Weighting(gae_lambda=one) for one in self.lambdas), best] if critic else []
        block = 1
        while block < LARGEST_SWEEP_BLOCK and self.pool.streams // (2 * block) >= SWEEP_GROUPS:
            block *= 2
        return ValueQuestion(self.pool.beginnings, tuple(own), tuple(complete), tuple(sweep), block)

    def updates(self, agent: Agent) -> int:
        """Return how many updates of its critic are judged: none where its algorithm is not known."""
        return self.wishes.updates if agent.value is not None and has_own_rule(agent) else 0

    def pairs(self, agent: Agent) -> int:
        """State-action pairs simulated of one agent."""
        fit = 0 if self.fit_pool is None else self.fit_pool.pairs
        restarts = self.wishes.restarts * self.restart_pairs(agent)
        return self.pool.pairs + fit + self.updates(agent) * agent.regime.batch_pairs + restarts

    def restart_pairs(self, agent: Agent) -> int:
        """State-action pairs simulated for each state that is restarted from, at most."""
        return self.pool.n_steps + (1 + self.wishes.restart_copies) * restart_steps(agent.gamma)

    def settings(self, agents: Sequence[Agent]) -> dict[str, Any]:
        """Return what decides the results, for the run folder."""
        return {
            "agents": [content_key(probe(agent)) for agent in agents],
            "environment": self.environment.to_json(),
            **asdict(self.wishes),
            "sizes": None if self.wishes.sizes is None else list(self.wishes.sizes),
            "lambdas": list(self.lambdas),
        }


def prepare(agents: Sequence[Agent], environment: str | EnvironmentSpec | None, wishes: Wishes) -> Request:
    """Check what was asked, and fill in what was not.

    Raises
    ------
    InputError
        Where pairs are too few, agents differ in what they must share, or a choice means nothing; where states are to
        be restarted from and the environment cannot be copied.
    NonFiniteError
        Where an agent's parameters are not finite.
    """
    require_alike(agents)
    _require_sensible(wishes)
    _require_ends(agents)
    spec = find_environment(agents, environment)
    regime = agents[0].regime
    sizes = wishes.sizes if wishes.sizes is not None else _default_sizes(wishes, regime.batch_pairs)
    pool = plan_pool(wishes.pairs, wishes.estimates, (regime.n_steps, regime.batch_pairs), sizes)
    fit_pool = _fit_pool(wishes, regime.n_steps)
    description = describe_environment(spec)
    require_fit(agents, description)
    if wishes.restarts:
        require_restarts(spec)
    own = {agent.gae_lambda for agent in agents if agent.value is not None}
    asked = LAMBDAS if wishes.lambdas is None else wishes.lambdas
    lambdas = tuple(sorted({*map(float, asked), *own}))
    sampling = sampling_of(agents, description)
    return Request(spec, description, sampling, pool, fit_pool, FitSettings(), lambdas, wishes)


def _default_sizes(wishes: Wishes, batch_pairs: int) -> list[int] | None:
    largest = wishes.pairs // wishes.estimates
    sizes = {2**k for k in range(SMALLEST_SIZE.bit_length() - 1, largest.bit_length()) if 2**k <= largest}
    sizes |= {batch_pairs} if batch_pairs <= largest else set()
    return sorted(sizes) or None


def _fit_pool(wishes: Wishes, n_steps: int) -> Pool | None:
    if wishes.fit_pairs == 0:
        return None
    streams = max(1, -(-wishes.fit_pairs // n_steps))
    if streams < FEWEST_FITTED_STREAMS:
        what = f"{wishes.fit_pairs:,} pairs are one stream: none would be left to tell when a fit is to stop"
        raise InputError(what, f"give --fit-pairs {10 * n_steps} or more, or 0 to fit no value")
    return Pool(n_steps, streams, ())


def _require_sensible(wishes: Wishes) -> None:
    numbers = {"fit-pairs": wishes.fit_pairs, "updates": wishes.updates, "restarts": wishes.restarts}
    for name, number in numbers.items():
        if number < 0:
            raise InputError(f"{name} is {number}", f"give --{name} 0 for none, or more")
    if wishes.restarts and wishes.restart_copies < 2:
        raise InputError(
            f"restart-copies is {wishes.restart_copies}", "give 2 or more: noise is told from their spread"
        )
    if wishes.lambdas is not None and any(not 0.0 <= one <= 1.0 for one in wishes.lambdas):
        raise InputError(f"lambdas are {list(wishes.lambdas)}", "give numbers from 0 to 1")


def _require_ends(agents: Sequence[Agent]) -> None:
    endless = [agent.gamma for agent in agents if continuation_steps(agent.gamma) is None]
    if endless:
        what = f"discounted returns do not come to an end with gamma {endless[0]:g}, so values cannot be judged"
        raise InputError(what, "measure agents with a smaller gamma")
