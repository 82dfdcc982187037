"""The monitor as a hook of an rsl_rl runner, which has no callbacks: its algorithm's update is watched."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from closerlook.adapters.hooks import watch_method
from closerlook.errors import InputError
from closerlook.monitor.batch import Batch
from closerlook.monitor.monitor import Monitor
from closerlook.monitor.policies import Critic, RowPolicy
from closerlook.nn.distributions import DiagonalGaussian


def watch(runner: Any, monitor: Monitor) -> Callable[[], None]:
    """Measure one update in k of an on-policy runner; nothing of the training changes.

    Parameters
    ----------
    runner : rsl_rl.runners.OnPolicyRunner
        Whose algorithm is PPO with networks that keep no memory.
    monitor : Monitor
        What measures.

    Returns
    -------
    callable
        Takes the hook away.

    Raises
    ------
    InputError
        Where the networks are recurrent, or actions are not Gaussian.
    """
    algorithm = runner.alg
    kind = type(algorithm.actor.distribution).__name__
    if not kind.endswith("GaussianDistribution"):
        raise InputError(f"actions of a {kind} cannot be watched", "give a runner whose actions are Gaussian")
    if algorithm.actor.is_recurrent or algorithm.critic.is_recurrent:
        raise InputError("recurrent networks cannot be watched", "give a runner whose networks keep no memory")
    last: list[Tensor] = []

    def around_returns(original: Callable[..., Any]) -> Callable[..., Any]:
        def compute_returns(obs: Any) -> Any:
            last[:] = [algorithm.critic(obs).detach().reshape(-1).clone()]
            return original(obs)

        return compute_returns

    def around_update(original: Callable[..., Any]) -> Callable[..., Any]:
        def update(*arguments: Any, **named: Any) -> Any:
            if not monitor.is_due:
                monitor.skip_update()
                return original(*arguments, **named)
            batch = batch_of(algorithm, last[0] if last else None).frozen()
            found = original(*arguments, **named)
            monitor.on_update(None, (policy_of(algorithm), critic_of(algorithm)), batch)
            return found

        return update

    undo = [
        watch_method(algorithm, "compute_returns", around_returns),
        watch_method(algorithm, "update", around_update),
    ]

    def give_back() -> None:
        for one in undo:
            one()

    return give_back


def batch_of(algorithm: Any, last_values: Tensor | None) -> Batch:
    """Take the batch out of the algorithm's storage, before the update.

    Rewards hold ``gamma V(s_t)`` where an episode timed out: rsl_rl bootstraps by the value of the state itself.

    Parameters
    ----------
    algorithm : rsl_rl.algorithms.PPO
        With a full storage.
    last_values : Tensor, (N, 1) or None
        The critic at the states after the last step; None where they are not known.
    """
    storage = algorithm.storage
    names = [*dict.fromkeys([*algorithm.actor.obs_groups, *algorithm.critic.obs_groups])]
    held: dict[str, Any] = {
        "rewards": storage.rewards.clone(),
        "observations": torch.cat([storage.observations[name] for name in names], dim=-1),
        "actions": storage.actions.clone(),
        "log_probs": storage.actions_log_prob.clone(),
        "values": storage.values.clone(),
        "last_values": last_values,
        "done": storage.dones,
        "advantages": storage.advantages.clone(),
        "returns": storage.returns.clone(),
        "gamma": algorithm.gamma,
        "gae_lambda": algorithm.lam,
        "truncation": "in_rewards",
        "normalize_advantages": "minibatch" if algorithm.normalize_advantage_per_mini_batch else "none",
        "clip": algorithm.clip_param,
        "value_coefficient": algorithm.value_loss_coef,
        "entropy_coefficient": algorithm.entropy_coef,
        "policy": policy_of(algorithm),
        "critic": critic_of(algorithm),
    }
    return Batch(**held)


def policy_of(algorithm: Any) -> RowPolicy:
    """Return the actor as a function of rows; its distribution is asked, nothing is drawn."""
    actor, take = algorithm.actor, _groups(algorithm)

    def answer(rows: Tensor) -> Any:
        actor.distribution.update(actor.mlp(actor.obs_normalizer(take(rows, actor))))
        mean, std = actor.distribution.params
        return DiagonalGaussian(mean, std.log().expand_as(mean))

    own = {name: tensor for name, tensor in actor.named_parameters() if tensor.requires_grad}
    return RowPolicy(answer, own, actor, actor)


def critic_of(algorithm: Any) -> Critic:
    """Return the critic as a function of rows."""
    critic, take = algorithm.critic, _groups(algorithm)
    own = {name: tensor for name, tensor in critic.named_parameters() if tensor.requires_grad}
    return Critic(lambda rows: critic.mlp(critic.obs_normalizer(take(rows, critic))), own, critic, critic)


def _groups(algorithm: Any) -> Callable[[Tensor, Any], Tensor]:
    """Return what takes a network's groups out of all groups of observations, side by side."""
    stored = algorithm.storage.observations
    names = [*dict.fromkeys([*algorithm.actor.obs_groups, *algorithm.critic.obs_groups])]
    sizes = [stored[name].shape[-1] for name in names]

    def take(rows: Tensor, network: Any) -> Tensor:
        parts = dict(zip(names, torch.split(rows, sizes, dim=-1), strict=True))
        return torch.cat([parts[name] for name in network.obs_groups], dim=-1)

    return take
