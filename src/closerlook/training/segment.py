"""The training loop: rollout, batch, update, log row; some iterations of some agents, as one job.

====== ============================
symbol meaning
====== ============================
P      agents trained together
I      iterations of a segment
====== ============================
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from closerlook.agents.agent import Agent, moments, moments_state
from closerlook.agents.rewards import scaled_rewards
from closerlook.algorithms.batch import Batch, make_batch
from closerlook.algorithms.rules import UPDATES
from closerlook.errors import NonFiniteError
from closerlook.simulation.records import Rollout, Sampling
from closerlook.simulation.rollout import rollout
from closerlook.training.callback import Callback
from closerlook.training.settings import TrainSettings

Row = dict[str, np.ndarray]
"""One line of the log for each agent: columns (P,), float64."""


def train_segment(
    agents: Agent,
    settings: TrainSettings,
    seeds: Sequence[int],
    first: int,
    last: int,
    callbacks: Sequence[Callback] = (),
) -> dict[str, np.ndarray]:
    """Train a population through iterations `first` to `last` - 1.

    Parameters
    ----------
    agents : Agent
        A population of P, as it is after `first` updates.
    settings : TrainSettings
        Resolved settings.
    seeds : sequence of int, (P,)
        Each agent's own root seed.
    first, last : int
        Iterations.
    callbacks : sequence of Callback
        Who hears of every update.

    Returns
    -------
    dict of str to ndarray, (P, ...)
        ``state.<name>``: the agents after the last update. ``log.<column>`` (P, I). ``done`` (P,): the iteration
        each agent reached. ``failure`` (P,): empty, or why it stopped there before the update that would have made
        it not finite; the state is then the last good one and its log ends in NaN. Where `first` is 0,
        ``first.<name>``: the agents before any update, with the statistics of their first rollout.
    """
    start, begun, rows, failure = agents, agents, [], ""
    for callback in callbacks:
        callback.start(settings, seeds)
    for iteration in range(first, last):
        try:
            sampled, batch, row, rolled = gather(agents, settings, seeds, iteration)
            agents, update_row = improve(sampled, batch, settings, seeds, iteration)
            for callback in callbacks:
                update_row |= callback.on_update(sampled, agents, batch, rolled)
        except NonFiniteError as error:
            # one member came to what is not finite: each again by itself, so that the others go on
            if len(seeds) > 1:
                return _one_by_one(start, settings, seeds, first, last, callbacks)
            failure = f"{error.what}\n{error.hint}"
            break
        # checkpoint 0 has the initial parameters, and the statistics after its first rollout
        begun = sampled if iteration == 0 else begun
        rows.append(row | update_row)
    return _as_arrays(agents, rows, last - first) | {
        "done": np.full(len(seeds), first + len(rows)),
        "failure": np.full(len(seeds), failure),
        **({f"first.{name}": tensor.numpy() for name, tensor in begun.state.items()} if first == 0 else {}),
    }


def gather(
    agents: Agent, settings: TrainSettings, seeds: Sequence[int], iteration: int
) -> tuple[Agent, Batch, Row, Rollout]:
    """Sample one batch: the agents with their statistics after it, the batch, its columns of the log, the rollout.

    Parameters
    ----------
    agents : Agent
        A population of P.
    settings : TrainSettings
        How.
    seeds : sequence of int, (P,)
        Each agent's own.
    iteration : int
        Updates made before: names the streams.
    """
    begun = time.perf_counter()
    sampled = rollout(
        agents,
        settings.spec,
        Sampling(settings.n_steps),
        seeds=seeds,
        purpose="training",
        streams=range(iteration * settings.n_envs, (iteration + 1) * settings.n_envs),
        lanes=settings.n_envs,
        update_observations=agents.observation_scaling is not None,
    )
    agents, rewards = _with_statistics(agents, sampled)
    batch = make_batch(agents, sampled, rewards)
    seconds = np.full(len(seeds), (time.perf_counter() - begun) / len(seeds))
    # of this agent so far, batches being all of one size
    steps = np.full(len(seeds), float((iteration + 1) * settings.regime.batch_pairs))
    row = {"environment_steps": steps, **episode_columns(sampled), "seconds_sampling": seconds}
    return agents, batch, row, sampled


def improve(
    agents: Agent, batch: Batch, settings: TrainSettings, seeds: Sequence[int], iteration: int
) -> tuple[Agent, Row]:
    """Update the agents from a batch: the agents after it, and its columns of the log.

    Parameters
    ----------
    agents : Agent
        A population of P.
    batch : Batch
        Its own.
    settings : TrainSettings
        How.
    seeds : sequence of int, (P,)
        Each agent's own.
    iteration : int
        Updates made before.
    """
    begun = time.perf_counter()
    updated, info = UPDATES[settings.algorithm](agents, batch, settings.update, seeds=seeds, iteration=iteration)
    seconds = np.full(len(seeds), (time.perf_counter() - begun) / len(seeds))
    return replace(updated, iteration=iteration + 1), {**info.columns(), "seconds_update": seconds}


def _with_statistics(agents: Agent, sampled: Rollout) -> tuple[Agent, np.ndarray]:
    """Return the agents with the moments of observations and returns after a rollout, and its scaled rewards."""
    changes = {}
    if sampled.observation_moments is not None:
        changes["observations"] = moments_state(sampled.observation_moments)
    rewards = sampled.rewards
    if agents.reward_scaling is not None:
        # the running return is 0 again after every end
        ends = sampled.terminated | sampled.truncated
        before = moments(agents, "returns")
        rewards, after = scaled_rewards(rewards, ends, before, agents.reward_scaling, agents.gamma)
        changes["returns"] = moments_state(after)
    return agents.with_state(changes), rewards


def episode_columns(sampled: Rollout) -> Row:
    """Mean undiscounted return and mean length of the episodes that finished in a batch, and how many they were.

    Episodes cut by the end of the batch are not counted, as in the released code (agent.py, ``run_trajectories``);
    where none finished, the means are NaN (-1 there).
    """
    episodes, policies = sampled.episodes, sampled.n_policies
    # means over episodes that finished in this batch; none where none did
    policy = episodes.policy[episodes.finished]
    count = np.bincount(policy, minlength=policies).astype(np.float64)
    divisor = np.where(count > 0, count, np.nan)
    returns = np.bincount(policy, episodes.episode_return[episodes.finished], policies)
    lengths = np.bincount(policy, episodes.length[episodes.finished], policies)
    return {"mean_reward": returns / divisor, "mean_length": lengths / divisor, "episodes": count}


def _as_arrays(agents: Agent, rows: Sequence[Row], iterations: int) -> dict[str, np.ndarray]:
    arrays = {f"state.{name}": tensor.numpy() for name, tensor in agents.state.items()}
    for column in rows[0] if rows else ():
        values = np.full((agents.population or 1, iterations), np.nan)
        values[:, : len(rows)] = np.stack([row[column] for row in rows], axis=1)
        arrays[f"log.{column}"] = values
    return arrays


def _one_by_one(
    agents: Agent,
    settings: TrainSettings,
    seeds: Sequence[int],
    first: int,
    last: int,
    callbacks: Sequence[Callback],
) -> dict[str, np.ndarray]:
    """Do the same one agent at a time: those who stay finite go on, and who does not is known.

    Agents do not depend on their companions, so nothing else changes.
    """
    alone = [
        train_segment(Agent.stack([agent]), settings, [seed], first, last, callbacks)
        for agent, seed in zip(agents.unstack(), seeds, strict=True)
    ]
    names = {name for arrays in alone for name in arrays}
    nothing = np.full((1, last - first), np.nan)
    return {name: np.concatenate([arrays.get(name, nothing) for arrays in alone]) for name in names}
