"""What an agent's algorithm would do with a batch: fresh batches of many sizes, the update each gives, how far it goes.

====== ==========================================
symbol meaning
====== ==========================================
S      streams
T      pairs of a stream
B      sizes of a batch
D      policy parameters, flattened
====== ==========================================
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.rewards import frozen_rewards
from closerlook.algorithms.batch import Batch, make_batch
from closerlook.algorithms.objective import Objective
from closerlook.algorithms.ppo import Watch
from closerlook.algorithms.rules import UPDATES, Rule, without_critic, without_memory
from closerlook.algorithms.update import UpdateInfo
from closerlook.errors import NonFiniteError, PolicyError
from closerlook.measurements.policy_change import smallest_deviations
from closerlook.measurements.stream_sums import StreamRange
from closerlook.nn.networks import flatten
from closerlook.randomness import derive_seed
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout


@dataclass(frozen=True)
class Step:
    """An update of the policy.

    Parameters
    ----------
    displacement : ndarray, (D,), float64
        New policy parameters less the old ones, in the policy's order; NaN where an attempt failed.
    info : UpdateInfo or None
        What happened, on the batch; None where an attempt failed.
    """

    displacement: np.ndarray
    info: UpdateInfo | None

    def value_of(self, name: str) -> float:
        """Return what the update says of itself by that name, NaN where it says nothing."""
        return float(getattr(self.info, name, [np.nan])[0])


def sample_batch(agents: Agent, environment: EnvironmentSpec, sampling: Sampling, streams: StreamRange) -> Batch:
    """Sample a fresh batch of a population of one, its statistics of observations and rewards as they are.

    Training would move them with the batch, a little: by a part in the number of pairs seen so far.

    Parameters
    ----------
    agents : Agent
        A population of one.
    environment : EnvironmentSpec
        Where it acts.
    sampling : Sampling
        How each stream is sampled.
    streams : StreamRange
        Which ones.
    """
    numbers = range(streams.first, streams.stop)
    sampled = rollout(agents, environment, sampling, seeds=[streams.seed], purpose=streams.purpose, streams=numbers)
    return make_batch(agents, sampled, frozen_rewards(agents, sampled.rewards))


def take_step(agents: Agent, batch: Batch, rule: Rule, seed: int, *, watch: Watch | None = None) -> Step:
    """Make one update of a population of one.

    Parameters
    ----------
    agents : Agent
        With the state of its optimizer; without, or where the rule says so, Adam begins anew.
    batch : Batch
        What to compute the update from.
    rule : Rule
        Which update.
    seed : int
        Keys the order of minibatches, and the states of the Fisher matrix.
    watch : callable, optional
        Told of every minibatch, where the rule is PPO's.

    Raises
    ------
    NonFiniteError
        Where a parameter is no longer finite.
    """
    bare = without_memory(agents) if rule.fresh_optimizer else agents
    # the policy's update does not look at the critic's, which need not be made, except where both are one
    bare = bare if rule.is_joint else without_critic(bare)
    more = {"watch": watch} if watch is not None and rule.watches else {}
    updated, info = UPDATES[rule.algorithm](bare, batch, rule.settings, seeds=[seed], iteration=rule.iteration, **more)
    names = list(agents.policy.parameter_shapes)
    # theta_new - theta_old in double precision: steps are small against the parameters
    ends = (flatten(one.policy_parameters, names, stacked=True)[0].double() for one in (updated, agents))
    new, old = ends
    return Step((new - old).numpy(), info)


def attempt_step(agents: Agent, batch: Batch, rule: Rule, seed: int, *, watch: Watch | None = None) -> Step:
    """Make one update as `take_step`, which may fail: with parameters that are not finite, or that the policy refuses.

    Where the policy fails at the agent itself, whoever looks at the batch afterwards is told.

    Parameters
    ----------
    agents : Agent
        With the state of its optimizer; without, or where the rule says so, Adam begins anew.
    batch : Batch
        What to compute the update from.
    rule : Rule
        Which update.
    seed : int
        Keys the order of minibatches, and the states of the Fisher matrix.
    watch : callable, optional
        Told of every minibatch, where the rule is PPO's.
    """
    try:
        return take_step(agents, batch, rule, seed, watch=watch)
    except (NonFiniteError, PolicyError):
        size = sum(tensor.numel() for tensor in agents.policy_parameters.values())
        return Step(np.full(size, np.nan), None)


def sample_attempt(
    agent: Agent, environment: EnvironmentSpec, sampling: Sampling, streams: StreamRange, rule: Rule
) -> dict[str, np.ndarray]:
    """Simulate a batch, and take the update that it gives, which may fail.

    Parameters
    ----------
    agent : Agent
        A single one.
    environment, sampling, streams, rule
        As for `sample_steps`.

    Returns
    -------
    dict of str to ndarray
        ``displacement`` (D,) float32, NaN where the update failed; ``mean_kl``, of the old policy to the new on the
        batch; ``action_std``, the smallest of any action component at any state.
    """
    agents = Agent.stack([agent])
    batch = sample_batch(agents, environment, sampling, streams)
    step = attempt_step(agents, batch, rule, derive_seed(streams.seed, streams.purpose, stream=streams.first))
    # deviations of actions at the batch's states, by the policy that sampled
    objective = Objective.of(agents, batch)
    return {
        "displacement": step.displacement.astype(np.float32),
        "mean_kl": np.array(step.value_of("mean_kl")),
        "action_std": smallest_deviations(objective, objective.start(agents)).min(),
    }


def sample_steps(
    agent: Agent,
    environment: EnvironmentSpec,
    sampling: Sampling,
    streams: StreamRange,
    sizes: Sequence[int],
    rule: Rule,
) -> dict[str, np.ndarray]:
    """Simulate the largest of some batches once, and take the update that each beginning of it gives.

    Parameters
    ----------
    agent : Agent
        A single one.
    environment : EnvironmentSpec
        Where it acts.
    sampling : Sampling
        How each stream is sampled.
    streams : StreamRange
        Whose streams; the update is keyed by the first.
    sizes : sequence of int
        Pairs of each batch: whole streams, or fewer than one has: a stream that is cut there.
    rule : Rule
        Which update.

    Returns
    -------
    dict of str to ndarray
        ``displacement`` (B, D) float32; ``mean_kl`` (B,), of the old policy to the new on the batch.
    """
    agents = Agent.stack([agent])
    seed = derive_seed(streams.seed, streams.purpose, stream=streams.first)
    largest = max(sizes)
    whole = sample_batch(agents, environment, sampling, streams) if largest >= sampling.n_steps else None
    steps = []
    for size in sizes:
        # below a stream the batch is sampled anew with that length, as its cut comes earlier
        if size < sampling.n_steps or whole is None:
            one = replace(streams, stop=streams.first + 1)
            batch = sample_batch(agents, environment, replace(sampling, n_steps=size), one)
        else:
            batch = first_streams(whole, size // sampling.n_steps)
        steps.append(take_step(agents, batch, rule, seed))
    return {
        "displacement": np.array([step.displacement for step in steps], np.float32),
        "mean_kl": np.array([step.value_of("mean_kl") for step in steps]),
    }


def first_streams(batch: Batch, streams: int) -> Batch:
    """Take the first streams of a batch: no number of a stream depends on the others.

    Parameters
    ----------
    batch : Batch
        (P, S, T).
    streams : int
        How many of its S.
    """
    parts = {name: tensor[:, :streams] for name, tensor in vars(batch).items() if isinstance(tensor, Tensor)}
    return replace(batch, **parts)
