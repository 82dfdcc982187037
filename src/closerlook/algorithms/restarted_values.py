"""What critics say of states whose value is known from many rollouts.

====== ==========================================
symbol meaning
====== ==========================================
M      states, one of each stream
K      copies of each
====== ==========================================
"""

from collections.abc import Mapping

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.rewards import frozen_rewards
from closerlook.algorithms.fitted_values import Critic
from closerlook.algorithms.stream_sums import StreamRange
from closerlook.algorithms.truths import continuation_steps
from closerlook.randomness import generator
from closerlook.simulation.records import Rollout, Sampling
from closerlook.simulation.restarts import Origin, State, restart
from closerlook.simulation.rollout import rollout

TIMES_AS_LONG = 2
"""Copies go on for so many times the steps of a complete return: what is missing then weighs 0.01%, not 1%, as critics
are often nearer to the value than that."""
JUDGED = ("critic", "fitted")
"""Whose values are told."""


def restart_steps(gamma: float) -> int:
    """Return how many steps copies go on; 0 where returns do not come to an end."""
    return TIMES_AS_LONG * (continuation_steps(gamma) or 0)


def sample_restarts(
    agent: Agent,
    environment: EnvironmentSpec,
    sampling: Sampling,
    streams: StreamRange,
    critics: Mapping[str, Critic],
    copies: int,
) -> dict[str, np.ndarray]:
    """Simulate streams, and go on many times from one state of each, drawn at random from its pairs.

    Parameters
    ----------
    agent : Agent
        A single one.
    environment : EnvironmentSpec
        Where it acts.
    sampling : Sampling
        How each stream is sampled.
    streams : StreamRange
        Which ones.
    critics : mapping of str to Critic
        With ``fitted``, where there is one.
    copies : int
        K.

    Returns
    -------
    dict of str to ndarray
        ``returns`` (M, K) in the critic's units; ``values`` (M, 2) by `JUDGED`, NaN where there is none; ``stream``
        (M,). A stream whose pairs are all of an episode that began before it has no state here.
    """
    agents, numbers = Agent.stack([agent]), range(streams.first, streams.stop)
    sampled = rollout(agents, environment, sampling, seeds=[streams.seed], purpose=streams.purpose, streams=numbers)
    states = [state for place, key in enumerate(numbers) for state in _draw(sampled, place, streams, key)]
    if not states:
        return {"returns": np.zeros((0, copies)), "values": np.zeros((0, len(JUDGED))), "stream": np.zeros(0, np.int64)}
    origin = Origin(sampled, streams.seed, streams.purpose, numbers)
    found = restart(agents, environment, origin, states, copies=copies, steps=restart_steps(agent.gamma))
    rewards = frozen_rewards(agents, found.rewards.reshape(1, -1, found.rewards.shape[-1]))[0]
    returns = rewards @ agent.gamma ** np.arange(rewards.shape[-1])
    return {
        "returns": returns.reshape(len(states), copies),
        "values": _values(agents, critics, torch.from_numpy(found.observations)),
        "stream": np.array([numbers[state.stream] for state in states]),
    }


def _draw(sampled: Rollout, place: int, streams: StreamRange, key: int) -> list[State]:
    """Draw a step of a stream, of an episode that began in it."""
    starts = sampled.episodes.start[sampled.episodes.stream == place]
    inside = starts[starts >= 0]
    if not len(inside):
        return []
    draws = generator(streams.seed, f"{streams.purpose}, which state", stream=key)
    return [State(place, int(draws.integers(int(inside.min()), sampled.n_steps)))]


@torch.no_grad()
def _values(agents: Agent, critics: Mapping[str, Critic], observations: torch.Tensor) -> np.ndarray:
    """Return what critics say at observations (M, obs): (M, 2)."""
    columns = dict.fromkeys(JUDGED, np.full(len(observations), np.nan))
    if agents.value is not None:
        columns["critic"] = agents.value(agents.value_parameters, observations[None])[0].double().numpy()
    if "fitted" in critics:
        fitted = critics["fitted"]
        columns["fitted"] = fitted.value(fitted.parameters, observations).double().numpy()
    return np.stack([columns[name] for name in JUDGED], axis=1)
