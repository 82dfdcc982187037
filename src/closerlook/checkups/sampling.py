"""What workers answer for a checkup: episodes, and streams reduced to small numbers.

====== ==================================
symbol meaning
====== ==================================
E      episodes
S      streams
T      pairs of a stream
A      components of an action, or actions
D      policy parameters, flattened
====== ==================================
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.rewards import frozen_rewards
from closerlook.algorithms.batch import evaluate_critic, make_batch
from closerlook.algorithms.rules import Rule, clip_of
from closerlook.algorithms.surrogate import SURROGATES
from closerlook.checkups.choices import LAMBDAS
from closerlook.inspection.evidence import play
from closerlook.measurements.policy_change import ComparisonBatch
from closerlook.measurements.policy_updates import attempt_step, sample_batch
from closerlook.measurements.stream_sums import StreamRange
from closerlook.measurements.true_returns import discounted_returns
from closerlook.measurements.weightings import Weighting, weigh
from closerlook.monitor.batch import Batch
from closerlook.monitor.gradient_estimates import group_gradients
from closerlook.monitor.own_training import batches_of
from closerlook.monitor.policies import RowPolicy, as_policy, rows_of
from closerlook.monitor.recomputed import in_parts
from closerlook.monitor.update_estimates import activations, policy_state
from closerlook.nn.distributions import Categorical, DiagonalGaussian
from closerlook.randomness import derive_seed
from closerlook.simulation.engine import lend_engine
from closerlook.simulation.records import Rollout, Sampling
from closerlook.simulation.rollout import rollout

THINNED = 32
"""Pairs of a stream whose observations are kept: neighbors hardly differ."""
FLAT = 0.99, 0.9
"""A unit of tanh is flat beyond that, and saturated where it is flat at this share of the states."""
MOST_NUMBERS = 20_000_000
"""Of gradients in one answer: larger policies have none."""
KINDS = ("sampled", "mode", "random")


def sample_episodes(
    agent: Agent, environment: EnvironmentSpec, streams: StreamRange, acting: str, longest: int
) -> dict[str, np.ndarray]:
    """Play episodes.

    Parameters
    ----------
    agent : Agent
        A single one.
    environment : EnvironmentSpec
        Where.
    streams : StreamRange
        One episode of each.
    acting : {"sampled", "mode", "random"}
        See `closerlook.inspection.evidence.play`.
    longest : int
        Steps at which one that may never end is broken off.

    Returns
    -------
    dict of str to ndarray
        ``returns`` (E,), so far where it was broken off; ``lengths`` (E,); ``finished`` (E,), bool. Empty where the
        likeliest action is not known.
    """
    numbers = range(streams.first, streams.stop)
    try:
        found = play(agent, environment, acting, numbers, streams.seed, longest=longest)  # type: ignore[arg-type]
    except NotImplementedError:
        return {"returns": np.empty(0), "lengths": np.empty(0), "finished": np.empty(0, bool)}
    return {
        "returns": found.episode_return,
        "lengths": found.length.astype(np.float64),
        "finished": found.finished,
    }


def sample_streams(
    agent: Agent, environment: EnvironmentSpec, sampling: Sampling, streams: StreamRange
) -> dict[str, np.ndarray]:
    """Sample streams that begin anywhere in an episode, and reduce them.

    Parameters
    ----------
    agent : Agent
        A single one.
    environment : EnvironmentSpec
        Where.
    sampling : Sampling
        With a continuation, so that discounted returns are complete.
    streams : StreamRange
        Which.

    Returns
    -------
    dict of str to ndarray
        Of each pair, (S, T): ``rewards, returns, values, advantages, terminated, truncated``, rewards as the critic
        sees them. Of each stream, (S, ...): ``input_means, input_squares``; ``clipped``, the share of the inputs at
        the bound of their standardization; ``entropy, std, outside, choices``, see `_acting`; ``thin_inputs``
        (S, `THINNED`, obs) and ``thin_returns``, and what the critic's last hidden layer answers there,
        ``thin_features`` (S, `THINNED`, H); ``gradients`` and ``true_gradients`` (S, D), sums of A grad log pi
        with the agent's advantages and with Monte Carlo returns in their place; ``lambda_gradients`` (S, L, D), the
        same with advantages by other lambdas. Of the range: ``saturated_units``,
        ``policy_constant_units, critic_constant_units, policy_feature_rank``.
    """
    agents, numbers = Agent.stack([agent]), range(streams.first, streams.stop)
    # one rollout serves every number: inputs, actions, critic, gradient and networks are of the same states
    sampled = rollout(agents, environment, sampling, seeds=[streams.seed], purpose=streams.purpose, streams=numbers)
    update_batch = make_batch(agents, sampled, frozen_rewards(agents, sampled.rewards))
    batch = batches_of(agents, update_batch, sampled)[0]
    returns = discounted_returns(agents, sampled, scaled=True).numpy()
    inputs = sampled.observations[0].reshape(len(numbers), sampling.n_steps, -1).astype(np.float64)
    # pairs that a value is fitted to, evenly over a stream
    thin = np.linspace(0, sampling.n_steps - 1, min(THINNED, sampling.n_steps)).astype(int)
    found = {
        "rewards": frozen_rewards(agents, sampled.rewards)[0],
        "returns": returns,
        "values": update_batch.values[0].double().numpy(),
        "advantages": update_batch.advantages[0].double().numpy(),
        "terminated": sampled.terminated[0],
        "truncated": sampled.truncated[0],
        "input_means": inputs.mean(axis=1),
        "input_squares": np.square(inputs).mean(axis=1),
        "clipped": _clipped(agent, inputs),
        "thin_inputs": inputs[:, thin].astype(np.float32),
        "thin_returns": returns[:, thin],
        **_acting(agent, environment, sampled),
        **_gradients(batch, returns, _by_lambda(agents, sampled)),
        **_units(batch),
        **_features(batch, thin),
    }
    # sums depend on the order in memory, which files do not keep
    return {name: np.ascontiguousarray(array) for name, array in found.items()}


def sample_update(
    agent: Agent,
    environment: EnvironmentSpec,
    sampling: tuple[Sampling, Sampling],
    streams: tuple[StreamRange, StreamRange],
    rule: Rule,
    multiples: Sequence[float],
) -> dict[str, np.ndarray]:
    """Sample a batch as training would, take the update it gives, and look at it at states that it never saw.

    Parameters
    ----------
    agent : Agent
        A single one, with its optimizer's state.
    environment : EnvironmentSpec
        Where.
    sampling : (Sampling, Sampling)
        Of the batch, and of the held-out states.
    streams : (StreamRange, StreamRange)
        Which ones; the update is keyed by the batch's first.
    rule : Rule
        Which update.
    multiples : sequence of float
        Of its step, M.

    Returns
    -------
    dict of str to ndarray
        ``failed``; ``change`` (M, 9) and ``gains`` (M,), of the standardized surrogate, at held-out states, see
        `closerlook.measurements.policy_change`; ``policy_norm_share`` and ``gradient_scale`` of a joint update.
    """
    agents = Agent.stack([agent])
    batch, other = (sample_batch(agents, environment, own, some) for own, some in zip(sampling, streams, strict=True))
    seed = derive_seed(streams[0].seed, streams[0].purpose, stream=streams[0].first)
    step = attempt_step(agents, batch, rule, seed)
    # the update is judged at states that it was not computed from: on its own batch any step looks good
    heldout = ComparisonBatch.at(agents, other, clip_of(rule.settings))
    displacement = torch.from_numpy(step.displacement)[None]
    changes = [heldout.change((heldout.start.double() + m * displacement).to(heldout.start.dtype)) for m in multiples]
    own = SURROGATES.index("normalized")
    base = heldout.change(heldout.start).surrogates[own]
    return {
        "failed": np.array(not np.isfinite(step.displacement).all()),
        "change": np.array([one.change for one in changes]),
        "gains": np.array([one.surrogates[own] - base for one in changes]),
        "policy_norm_share": np.array(step.value_of("policy_norm_share")),
        "gradient_scale": np.array(step.value_of("gradient_scale")),
    }


def _clipped(agent: Agent, inputs: np.ndarray) -> np.ndarray:
    scaling = agent.observation_scaling
    if scaling is None or scaling.clip is None:
        return np.zeros(len(inputs))
    return np.asarray((np.abs(inputs) >= scaling.clip * (1 - 1e-6)).mean(axis=(1, 2)))


def _acting(agent: Agent, environment: EnvironmentSpec, sampled: Rollout) -> dict[str, np.ndarray]:
    """Describe the policy's distributions by stream.

    ``entropy`` (S,), as a share of the largest, of one choice among several; ``choices`` (S, A), how often each is the
    likeliest. ``std`` (S, A), mean deviation over the range of an action; ``outside`` (S, A), share of the states at
    which the mean is outside of it. NaN where it is something else.
    """
    with lend_engine(environment, 1) as engine:
        space = engine.action_space
    streams, steps = sampled.rewards.shape[1:]
    policy, seen = as_policy(agent), torch.from_numpy(sampled.observations[0].reshape(streams * steps, -1))
    nothing = np.full(streams, np.nan)
    found = {"entropy": nothing, "choices": nothing[:, None], "std": nothing[:, None], "outside": nothing[:, None]}
    with torch.no_grad():
        example = policy(seen[:2])
    if isinstance(example, Categorical):
        logits = in_parts(lambda part: policy(seen[part]).logits, len(seen))  # type: ignore[attr-defined]
        # share of the largest entropy there is, log A of A equally likely actions
        entropy = Categorical(logits).entropy().double().reshape(streams, steps)
        chosen = torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).reshape(streams, steps, -1)
        most = np.log(logits.shape[-1]) if logits.shape[-1] > 1 else np.nan
        found |= {"entropy": entropy.mean(1).numpy() / most, "choices": chosen.double().mean(1).numpy()}
    elif isinstance(example, DiagonalGaussian) and isinstance(space, Box) and space.is_bounded():
        low, high = (torch.from_numpy(np.ravel(end).astype(np.float64)) for end in (space.low, space.high))
        both = in_parts(lambda part: _mean_and_std(policy, seen[part]), len(seen)).reshape(streams, steps, 2, -1)
        # squashed and rescaled actions have bounds of their own, which no mean is outside of
        own = agent.action_transform in {"none", "clip"}
        span = high - low if own else torch.full_like(low, 2.0)
        found["std"] = (both[:, :, 1].mean(1) / span).numpy()
        if own:
            beyond = (both[:, :, 0] < low) | (both[:, :, 0] > high)
            found["outside"] = beyond.double().mean(1).numpy()
    return found


def _mean_and_std(policy: RowPolicy, seen: Tensor) -> Tensor:
    answer = policy(seen)
    assert isinstance(answer, DiagonalGaussian)
    std = answer.log_std.expand_as(answer.mean).exp()
    return torch.stack([answer.mean, std], dim=1).double()


def _by_lambda(agents: Agent, sampled: Rollout) -> list[np.ndarray]:
    """Return advantages by other lambdas, (T, S) each; none without a critic."""
    if agents.value is None:
        return []
    critic = {"critic": evaluate_critic(agents, sampled, agents.bootstrap)}
    return [one.whole.T.numpy() for one in weigh(agents, sampled, critic, [Weighting(one) for one in LAMBDAS])]


def _gradients(batch: Batch, returns: np.ndarray, by_lambda: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return sums of A grad log pi of each stream: by the agent's advantages, Monte Carlo returns, other lambdas."""
    streams, size = batch.environments, sum(tensor.numel() for tensor in batch.policy.parameters.values())
    if size * streams > MOST_NUMBERS or batch.advantages is None or batch.values is None:
        return {}
    of_stream = np.broadcast_to(np.arange(streams), batch.rewards.shape)
    # weights of the scores: A by the agent's own lambda and critic; G - V, which trusts the critic with nothing
    weights = {"gradients": batch.advantages, "true_gradients": returns.T - batch.values}

    def summed(weight: np.ndarray) -> np.ndarray:
        # E[grad log pi] = 0: what is subtracted changes the noise alone
        own = replace(batch, advantages=weight - weight.mean(), normalize_advantages="none")
        return group_gradients(own, of_stream)[0].astype(np.float32)

    found = {name: summed(weight) for name, weight in weights.items()}
    fits = size * streams * len(by_lambda) <= MOST_NUMBERS
    return found | ({"lambda_gradients": np.stack([summed(one) for one in by_lambda], 1)} if by_lambda and fits else {})


def _features(batch: Batch, thin: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the critic's last hidden layer answers at some pairs of each stream, (S, K, H); none without one."""
    if batch.critic is None:
        return {}
    assert batch.observations is not None
    seen = batch.observations[thin]
    layers = activations(batch.critic, rows_of(seen, batch.critic))
    if not layers or layers[-1].size > MOST_NUMBERS or not np.isfinite(layers[-1]).all():
        return {}
    return {"thin_features": layers[-1].reshape(*seen.shape[:2], -1).swapaxes(0, 1).astype(np.float32)}


def _units(batch: Batch) -> dict[str, np.ndarray]:
    """Count hidden units that are saturated, or do not vary."""
    state = policy_state(batch)
    found = {
        name: np.array([state.get(name, np.nan)])
        for name in ("policy_constant_units", "critic_constant_units", "policy_feature_rank", "critic_feature_rank")
    }
    assert batch.observations is not None
    seen = rows_of(batch.observations, batch.policy)
    layers = activations(batch.policy, seen[:: max(1, len(seen) // 2048)])
    first = layers[0] if layers else None
    if first is None or np.abs(first).max() > 1.0:  # not a layer of tanh
        return {**found, "saturated_units": np.array([np.nan])}
    # a unit of tanh whose answer is near -1 or 1 at most observations passes on next to nothing of them
    flat = (np.abs(first) > FLAT[0]).mean(axis=0) > FLAT[1]
    return {**found, "saturated_units": np.array([flat.mean()])}
