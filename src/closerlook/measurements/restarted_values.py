"""What critics say of states whose value is known from many rollouts.

====== ==========================================
symbol meaning
====== ==========================================
M      states, one of each stream
K      copies of each
U      updates of the critic
====== ==========================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.rewards import frozen_rewards
from closerlook.measurements.fitted_values import Critic
from closerlook.measurements.stream_sums import StreamRange
from closerlook.measurements.true_returns import continuation_steps, discounted_returns
from closerlook.randomness import generator
from closerlook.simulation.lockstep import drawn_burn_in
from closerlook.simulation.records import Rollout, Sampling
from closerlook.simulation.restarts import Origin, State, restart
from closerlook.simulation.rollout import rollout

TIMES_AS_LONG = 2
"""Copies go on for so many times the steps of a Monte Carlo return: what is missing then weighs 0.01%, not 1%, as
critics are often nearer to the value than that."""
SINGLE = ("critic", "fitted")
"""Critics of which there is one."""
JUDGED = (*SINGLE, "updated")
"""Whose values are told."""


def restart_steps(gamma: float) -> int:
    """Return how many steps copies go on; 0 where returns do not come to an end."""
    # gamma^(2n) = 0.0001: what is missing weighs 0.01%
    return TIMES_AS_LONG * (continuation_steps(gamma) or 0)


def sample_restarts(
    agent: Agent,
    environment: EnvironmentSpec,
    sampling: Sampling,
    streams: StreamRange,
    critics: Mapping[str, Critic],
    copies: int,
    updated: Sequence[Critic] = (),
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
    updated : sequence of Critic
        The agent's own critic after updates.

    Returns
    -------
    dict of str to ndarray
        ``returns`` (M, K) in the critic's units; ``own_returns`` (M,), what the stream itself returned from there on,
        independent of the copies; ``values`` (M, 2) by `SINGLE`, NaN where there is none; ``updated_values`` (M, U);
        ``stream`` (M,).

    Notes
    -----
    States are those of the scored pairs of streams with a burn-in, which is simulated as if it were scored, so that
    every episode can be played back from its reset.
    """
    agents, numbers = Agent.stack([agent]), range(streams.first, streams.stop)
    steps = restart_steps(agent.gamma)
    # what is played back has to be known from the reset on: the burn-in too
    asked = replace(sampling, n_steps=sampling.burn_in + sampling.n_steps, burn_in=0, continuation_steps=steps)
    sampled = rollout(agents, environment, asked, seeds=[streams.seed], purpose=streams.purpose, streams=numbers)
    states = [_draw(sampled, sampling, place, streams, key) for place, key in enumerate(numbers)]
    origin = Origin(sampled, streams.seed, streams.purpose, numbers)
    found = restart(agents, environment, origin, states, copies=copies, steps=steps)
    rewards = frozen_rewards(agents, found.rewards.reshape(1, -1, found.rewards.shape[-1]))[0]
    # G = sum_k gamma^k r_{t+k} of every copy
    returns = rewards @ agent.gamma ** np.arange(rewards.shape[-1])
    observations = torch.from_numpy(found.observations)
    own = discounted_returns(agents, sampled, scaled=True).numpy()
    return {
        "returns": returns.reshape(len(states), copies),
        "own_returns": np.array([own[state.stream, state.time] for state in states]),
        "values": _values(agents, critics, observations),
        "updated_values": _updated_values(updated, observations),
        "stream": np.array([numbers[state.stream] for state in states]),
    }


def _draw(sampled: Rollout, sampling: Sampling, place: int, streams: StreamRange, key: int) -> State:
    """Draw one of the scored steps of a stream: those that follow its burn-in."""
    first = drawn_burn_in(sampling.burn_in, streams.seed, streams.purpose, key)
    draws = generator(streams.seed, f"{streams.purpose}, which state", stream=key)
    # while a meter is on, streams are shorter than was asked
    return State(place, min(first + int(draws.integers(sampling.n_steps)), sampled.n_steps - 1))


@torch.no_grad()
def _values(agents: Agent, critics: Mapping[str, Critic], observations: torch.Tensor) -> np.ndarray:
    """Return what critics say at observations (M, obs): (M, 2)."""
    columns = dict.fromkeys(SINGLE, np.full(len(observations), np.nan))
    if agents.value is not None:
        columns["critic"] = agents.value(agents.value_parameters, observations[None])[0].double().numpy()
    if "fitted" in critics:
        fitted = critics["fitted"]
        columns["fitted"] = fitted.value(fitted.parameters, observations).double().numpy()
    return np.stack([columns[name] for name in SINGLE], axis=1)


@torch.no_grad()
def _updated_values(updated: Sequence[Critic], observations: torch.Tensor) -> np.ndarray:
    """Return what each updated critic says at observations (M, obs): (M, U)."""
    columns = [critic.value(critic.parameters, observations).double().numpy() for critic in updated]
    return np.stack(columns, axis=1) if columns else np.zeros((len(observations), 0))
