"""What is asked of each agent's values, resolved; a value that is handed down."""

from collections.abc import Sequence
from dataclasses import dataclass

from closerlook.agents.agent import Agent
from closerlook.algorithms.rules import ALGORITHMS
from closerlook.diagnostics.subjects import Subject
from closerlook.diagnostics.values.options import BASELINES, LAMBDAS, Options
from closerlook.errors import InputError
from closerlook.measurements.fitted_values import OWN_TARGET, FitSettings
from closerlook.measurements.restarted_values import restart_steps
from closerlook.measurements.true_returns import continuation_steps
from closerlook.measurements.value_sums import ValueStatistics
from closerlook.measurements.weightings import OWN, Weighting
from closerlook.simulation.restarts import require_restarts
from closerlook.statistics.pool import Pool, plan_pool

SMALLEST_SIZE = 512
"""The first of the default sizes."""
SWEEP_GROUPS = 64
"""Groups of streams, at least, that the sweep keeps where the pool has as many."""
LARGEST_SWEEP_BLOCK = 8
FEWEST_FITTED_STREAMS = 2


@dataclass(frozen=True)
class Plan:
    """All that is the same for every agent of a call.

    Parameters
    ----------
    options : Options
        As asked.
    batch : (int, int)
        Pairs of a stream, and of a training batch.
    pool : Pool
        What everything is judged on.
    fit_pool : Pool or None
        What the fitted value is fitted to.
    fit : FitSettings
        How.
    lambdas : tuple of float
        The sweep.
    """

    options: Options
    batch: tuple[int, int]
    pool: Pool
    fit_pool: Pool | None
    fit: FitSettings
    lambdas: tuple[float, ...]

    def statistics(self, agent: Agent, fits: Sequence[str]) -> ValueStatistics:
        """Return what is asked of each stream of one agent, for which so many values were fitted.

        Parameters
        ----------
        agent : Agent
            With a critic or without.
        fits : sequence of str
            Of `closerlook.measurements.fitted_values.FITS`, and ``OWN_TARGET``.
        """
        # estimates as the agent would make them, by baseline; the same by Monte Carlo returns, whose mean no baseline
        # moves;
        # and by lambda, the true gradient they are compared with last
        critic = [OWN] if agent.value is not None else []
        fitted = ["fitted"] if "fitted" in fits else []
        own = [*critic, Weighting(baseline="zero"), *(Weighting(baseline=name) for name in fitted)]
        baselines = ["zero", *(["critic"] if critic else []), *fits]
        complete = [Weighting(baseline=name, complete=True) for name in baselines]
        best = Weighting(baseline=fitted[0] if fitted else "critic", complete=True)
        sweep = [*(Weighting(gae_lambda=one) for one in self.lambdas), best] if critic else []
        block = 1
        # sums by lambda are kept for blocks of streams, as long as there are groups enough for a jackknife
        while block < LARGEST_SWEEP_BLOCK and self.pool.streams // (2 * block) >= SWEEP_GROUPS:
            block *= 2
        return ValueStatistics(self.pool.prefixes, tuple(own), tuple(complete), tuple(sweep), block)

    def own_target(self, agent: Agent) -> bool:
        """Whether a value is fitted to the agent's own target too: one without a critic has none."""
        return self.options.own_target and agent.value is not None

    @property
    def baselines(self) -> tuple[str, ...]:
        """Names of all baselines that are told of."""
        return (*BASELINES, OWN_TARGET) if self.options.own_target else BASELINES

    def updates(self, agent: Agent) -> int:
        """Return how many updates of its critic are judged: none where its algorithm is not known."""
        return self.options.updates if agent.value is not None and agent.algorithm in ALGORITHMS else 0

    def pairs(self, agent: Agent) -> int:
        """State-action pairs simulated of one agent."""
        fit = 0 if self.fit_pool is None else self.fit_pool.pairs
        restarts = self.options.restarts * self.restart_pairs(agent)
        return self.pool.pairs + fit + self.updates(agent) * agent.regime.batch_pairs + restarts

    def stored(self, agent: Agent) -> int:
        """Bytes that answers about one agent take on disk, about; not the transitions that a value is fitted to."""
        asked = self.statistics(agent, ("fitted",) if self.fit_pool is not None else ())
        parameters = sum(tensor.numel() for tensor in agent.policy_parameters.values())
        swept = len(asked.sweep) // asked.sweep_block
        return self.pool.answer_bytes(parameters, len(asked.fine) + swept)

    def restart_pairs(self, agent: Agent) -> int:
        """State-action pairs simulated for each state that is restarted from, at most."""
        # the stream itself, and each copy, go on for as long as returns take
        return self.pool.n_steps + (1 + self.options.restart_copies) * restart_steps(agent.gamma)


def plan(subjects: Sequence[Subject], options: Options) -> Plan:
    """Divide the pool, and say what is fitted and swept.

    Parameters
    ----------
    subjects : sequence of Subject
        Agents of one call, which are built alike.
    options : Options
        What was asked for.

    Raises
    ------
    InputError
        Where pairs are too few, returns do not come to an end, or states are to be restarted from and the environment
        cannot be copied.
    """
    agents = [subject.agent for subject in subjects]
    endless = [agent.gamma for agent in agents if continuation_steps(agent.gamma) is None]
    if endless:
        what = f"discounted returns do not come to an end with gamma {endless[0]:g}, so values cannot be judged"
        raise InputError(what, "measure agents with a smaller gamma")
    batch = (agents[0].regime.n_steps, agents[0].regime.batch_pairs)
    pool = pool_of(batch, options, options.pairs)
    fit_pool = _fit_pool(options, batch[0])
    if options.restarts:
        require_restarts(subjects[0].environment)
    own = {agent.gae_lambda for agent in agents if agent.value is not None}
    lambdas = tuple(sorted({*map(float, options.lambdas or LAMBDAS), *own}))
    return Plan(options, batch, pool, fit_pool, FitSettings(), lambdas)


def pool_of(batch: tuple[int, int], options: Options, pairs: int) -> Pool:
    """Divide a pool of so many pairs into the estimates that were asked for.

    Parameters
    ----------
    batch : (int, int)
        Pairs of a stream, and of a training batch.
    options : Options
        What was asked for.
    pairs : int
        Of the pool.
    """
    return plan_pool(pairs, options.estimates, batch, options.sizes or _default_sizes(options, pairs, batch[1]))


def _default_sizes(options: Options, pairs: int, batch_pairs: int) -> list[int] | None:
    # powers of two as far as there are estimates enough of them, and the training batch
    largest = pairs // options.estimates
    sizes = {2**k for k in range(SMALLEST_SIZE.bit_length() - 1, largest.bit_length()) if 2**k <= largest}
    sizes |= {batch_pairs} if batch_pairs <= largest else set()
    return sorted(sizes) or None


def _fit_pool(options: Options, n_steps: int) -> Pool | None:
    if options.fit_pairs == 0:
        return None
    streams = max(1, -(-options.fit_pairs // n_steps))
    if streams < FEWEST_FITTED_STREAMS:
        what = f"{options.fit_pairs:,} pairs are one stream: none would be left to tell when a fit is to stop"
        raise InputError(what, f"give --fit-pairs {10 * n_steps} or more, or 0 to fit no value")
    return Pool(n_steps, streams, ())
