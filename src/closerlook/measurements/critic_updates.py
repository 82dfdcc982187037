"""The agent's critic after an update, judged on the very batch it was updated on: what is seen in training.

====== ==========================================
symbol meaning
====== ==========================================
S      streams of a batch
T      pairs of a stream
====== ==========================================
"""

from collections.abc import Mapping

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.rewards import frozen_rewards
from closerlook.algorithms.batch import make_batch
from closerlook.algorithms.critic import critic_values
from closerlook.algorithms.minibatches import pairs_of
from closerlook.algorithms.rules import UPDATES, Rule
from closerlook.measurements.fitted_values import Critic
from closerlook.measurements.stream_sums import StreamRange
from closerlook.measurements.true_returns import cut_off_returns, discounted_returns
from closerlook.measurements.value_shards import with_monte_carlo_returns
from closerlook.randomness import derive_seed
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout


def sample_critic_update(
    agent: Agent, environment: EnvironmentSpec, sampling: Sampling, streams: StreamRange, rule: Rule
) -> dict[str, np.ndarray]:
    """Sample a fresh training batch, update the critic on it as the algorithm does, and judge it there.

    Parameters
    ----------
    agent : Agent
        A single one, with a critic and the state of its optimizers.
    environment : EnvironmentSpec
        Where it acts.
    sampling : Sampling
        How each stream is sampled.
    streams : StreamRange
        Those of the batch; the update is keyed by the first.
    rule : Rule
        The agent's own update.

    Returns
    -------
    dict of str to ndarray
        ``value.<name>``, the parameters after the update; on the batch, (S T,) each: ``values`` after the update,
        ``old_values`` before, ``gae_targets``, ``monte_carlo_returns``, ``cut_off_returns`` and
        ``true_returns``.
    """
    agents, numbers = Agent.stack([agent]), range(streams.first, streams.stop)
    # returns go on past the end of the batch, so that the critic is judged by whole ones there too
    asked = with_monte_carlo_returns(sampling, agent.gamma)
    sampled = rollout(agents, environment, asked, seeds=[streams.seed], purpose=streams.purpose, streams=numbers)
    batch = make_batch(agents, sampled, frozen_rewards(agents, sampled.rewards))
    seed = derive_seed(streams.seed, streams.purpose, stream=streams.first)
    # the whole update, policy and all: a critic that shares layers moves with it
    updated, _ = UPDATES[rule.algorithm](agents, batch, rule.settings, seeds=[seed], iteration=rule.iteration)
    values = critic_values(updated, updated.value_parameters, pairs_of(batch.observations))
    parameters = {f"value.{name}": tensor[0].numpy() for name, tensor in updated.value_parameters.items()}
    return {
        **parameters,
        "values": values[0].numpy(),
        "old_values": batch.values.reshape(-1).numpy(),
        "gae_targets": batch.gae_targets.reshape(-1).numpy(),
        "monte_carlo_returns": discounted_returns(agents, sampled, scaled=True).float().reshape(-1).numpy(),
        "cut_off_returns": cut_off_returns(agents, sampled).float().reshape(-1).numpy(),
        "true_returns": discounted_returns(agents, sampled).float().reshape(-1).numpy(),
    }


def updated_critic(agent: Agent, answer: Mapping[str, np.ndarray]) -> Critic:
    """Make a critic of what `sample_critic_update` answers.

    Parameters
    ----------
    agent : Agent
        Whose critic's architecture it has.
    answer : mapping of str to ndarray
        Of `sample_critic_update`.
    """
    assert agent.value is not None
    names = agent.value.parameter_shapes
    return Critic(agent.value, {name: torch.from_numpy(answer[f"value.{name}"]) for name in names})
