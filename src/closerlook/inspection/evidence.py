"""What is measured of an agent to tell whether it is the one that was trained.

====== =============================
symbol meaning
====== =============================
E      episodes
N      pairs
====== =============================
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.origin import Acting
from closerlook.algorithms.batch import evaluate_critic
from closerlook.inspection.acting import RandomPolicy, by_mode
from closerlook.measurements.true_returns import continuation_steps, discounted_returns
from closerlook.simulation.engine import lanes_at_once, lend_engine
from closerlook.simulation.lockstep import Lockstep, Plan
from closerlook.simulation.records import Episodes, Sampling
from closerlook.simulation.rollout import rollout, rollout_episodes
from closerlook.statistics.estimates import Interval
from closerlook.statistics.student import t_quantile

PURPOSE = "inspection"
_LONGEST_BURN_IN, _STEPS, _STREAMS = 1000, 256, 16
_FEWEST, _CLEARLY = 10, 3.0
"""Returns that a record is shortened to, at least; and from which t on halves differ clearly."""


@dataclass(frozen=True)
class Sight:
    """What the networks see of observations, standardized; N pairs.

    Parameters
    ----------
    mean, spread : ndarray, (obs,)
        By component.
    share_clipped : float
        Of all components at all pairs, those at a bound.
    """

    mean: np.ndarray
    spread: np.ndarray
    share_clipped: float


@dataclass(frozen=True)
class Expectation:
    """Values beside Monte Carlo returns, in the critic's units.

    Parameters
    ----------
    value, returns : Interval
        Means, from those of streams.
    explained : float
        Share of the returns' variance that values explain.
    """

    value: Interval
    returns: Interval
    explained: float


def play(
    agent: Agent,
    environment: EnvironmentSpec,
    acting: Acting | Literal["random"],
    streams: Sequence[int],
    seed: int,
    *,
    longest: int = 10_000,
) -> Episodes:
    """Play episodes, each the first of a stream of its own, so that none is chosen.

    Parameters
    ----------
    agent : Agent
        A single one.
    environment : EnvironmentSpec
        Where.
    acting : {"sampled", "mode", "random"}
        Whether actions are drawn from the policy, are its likeliest, or are drawn from their space.
    streams : sequence of int
        The episodes' streams.
    seed : int
        Root seed.
    longest : int
        Steps after which an episode that may never end counts as unfinished.

    Raises
    ------
    NotImplementedError
        Where the likeliest action of the policy is not known.
    """
    # one scored step, and the episode finished beyond it: each stream gives exactly its first episode
    first = Sampling(n_steps=1, finish_episodes=True, longest_finish=longest)
    if acting != "random":
        actor = by_mode(agent) if acting == "mode" else agent
        return rollout_episodes(actor, environment, first, seeds=[seed], purpose=PURPOSE, streams=streams)
    lanes = min(len(streams), lanes_at_once(environment))
    with lend_engine(environment, lanes) as engine:
        policy = RandomPolicy(engine.observation_size, engine.action_space)
        blank = Agent(policy=policy, value=None, state={}, population=1)
        purpose = f"{PURPOSE}, random"
        plan = Plan(environment.id, first, [seed], purpose, streams, lanes, keep_transitions=False)
        return Lockstep(blank, engine, plan).run_episodes()


def episode_returns(
    agent: Agent, environment: EnvironmentSpec, acting: Acting | Literal["random"], episodes: int, seed: int
) -> np.ndarray:
    """Return what complete episodes earned, see `play`: (E,).

    Episodes that do not end (see `closerlook.simulation.records.Sampling`) are left out; all are where the likeliest
    actions are not known.

    Parameters
    ----------
    agent : Agent
        A single one.
    environment : EnvironmentSpec
        Where it acts.
    acting : {"sampled", "mode", "random"}
        How actions are chosen: drawn, the likeliest, or at random.
    episodes : int
        E, at most.
    seed : int
        Root seed.
    """
    try:
        found = play(agent, environment, acting, range(episodes), seed)
    except NotImplementedError:  # of a distribution that does not know its likeliest action
        return np.empty(0)
    return found.episode_return[found.finished]


def sight_and_expectation(
    agent: Agent, environment: EnvironmentSpec, seed: int
) -> tuple[Sight | None, Expectation | None]:
    """Sample streams that begin anywhere in an episode, and look at inputs and values.

    Parameters
    ----------
    agent : Agent
        A single one.
    environment : EnvironmentSpec
        Where it acts.
    seed : int
        Root seed.

    Returns
    -------
    sight : Sight or None
        None where observations are not standardized.
    expectation : Expectation or None
        None without a critic, or where discounted returns do not come to an end.
    """
    beyond = continuation_steps(agent.gamma)
    burn_in = _burn_in(environment)
    sampling = Sampling(_STEPS, burn_in=burn_in, continuation_steps=beyond or 0)
    agents = Agent.stack([agent])
    sampled = rollout(agents, environment, sampling, seeds=[seed], purpose=PURPOSE, streams=range(_STREAMS))
    sight = None
    if agent.observation_scaling is not None:
        seen = sampled.observations.reshape(-1, sampled.observations.shape[-1]).astype(np.float64)
        clip = agent.observation_scaling.clip
        clipped = float((np.abs(seen) >= clip * (1 - 1e-6)).mean()) if clip is not None else 0.0
        sight = Sight(seen.mean(0), seen.std(0), clipped)
    if agent.value is None or beyond is None:
        return sight, None
    # V and Monte Carlo returns of the same pairs, both in the critic's units
    values = evaluate_critic(agents, sampled, agent.bootstrap).values[0].double().numpy()
    returns = discounted_returns(agents, sampled, scaled=True).numpy()
    total = float(returns.var())
    explained = 1.0 - float((returns - values).var()) / total if total > 0 else np.nan
    return sight, Expectation(interval(values.mean(1)), interval(returns.mean(1)), explained)


def recent(returns: Sequence[float]) -> np.ndarray:
    """Return the end of a record that is all of one level: earlier halves are left out while they clearly differ.

    The last hundred returns of training are of many policies; where it was still learning, only the last tell.
    """
    values = np.asarray(returns, dtype=np.float64)
    while len(values) >= 2 * _FEWEST:
        earlier, later = np.array_split(values, 2)
        # Welch's t, without its degrees of freedom
        error = np.sqrt(earlier.var(ddof=1) / len(earlier) + later.var(ddof=1) / len(later))
        if abs(earlier.mean() - later.mean()) <= _CLEARLY * error:
            break
        values = later
    return values


def _burn_in(environment: EnvironmentSpec) -> int:
    with lend_engine(environment, 1) as engine:
        return int(engine.time_limit or _LONGEST_BURN_IN)


def interval(values: Sequence[float] | np.ndarray, standard_error: float | None = None) -> Interval:
    """Return the mean of independent values with its 95% interval; open where it cannot be known.

    Parameters
    ----------
    values : sequence of float
        Independent ones.
    standard_error : float or None
        Of a single value, where it is known.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not numbers.size:
        return Interval(np.nan, np.nan, np.nan)
    mean = float(numbers.mean())
    if numbers.size == 1:
        reach = 1.96 * standard_error if standard_error is not None else np.nan
    else:
        error = float(numbers.std(ddof=1)) / np.sqrt(numbers.size)
        reach = float(t_quantile(0.975, numbers.size - 1)) * error
    return Interval(mean, mean - reach, mean + reach)
