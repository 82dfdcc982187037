"""The monitor as a hook of an skrl agent (PPO, A2C), which has no callbacks: its update is watched."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from closerlook.adapters.hooks import watch_method
from closerlook.monitor.batch import Batch
from closerlook.monitor.monitor import Monitor
from closerlook.monitor.policies import Critic, RowPolicy


def watch(agent: Any, monitor: Monitor) -> Callable[[], None]:
    """Measure one update in k of an agent; nothing of the training changes.

    Parameters
    ----------
    agent : skrl.agents.torch.ppo.PPO or A2C
        After ``init``; its networks keep no memory.
    monitor : Monitor
        What measures.

    Returns
    -------
    callable
        Takes the hook away.
    """

    def around(original: Callable[..., Any]) -> Callable[..., Any]:
        def update(*arguments: Any, **named: Any) -> Any:
            if not monitor.is_due:
                monitor.skip_update()
                return original(*arguments, **named)
            with torch.no_grad():
                before = _before(agent)
            policy = policy_of(agent).frozen()
            found = original(*arguments, **named)
            batch = Batch(**before, **_after(agent), policy=policy)
            monitor.on_update(None, policy_of(agent), batch)
            return found

        return update

    return watch_method(agent, "update", around)


def _before(agent: Any) -> dict[str, Any]:
    """Return what the memory holds before the update: values in the rewards' units, observations preprocessed."""
    memory, cfg = agent.memory, agent.cfg
    held = {name: memory.get_tensor_by_name(name).clone() for name in ("rewards", "terminated", "truncated", "values")}
    seen = memory.get_tensor_by_name("observations")
    rows = agent._observation_preprocessor(seen.reshape(-1, seen.shape[-1]))
    last = _last_values(agent)
    return {
        **held,
        "observations": rows.reshape(seen.shape).clone(),
        "actions": memory.get_tensor_by_name("actions").clone(),
        "log_probs": memory.get_tensor_by_name("log_prob").clone(),
        "last_values": last.reshape(-1).clone(),
        "gamma": cfg.discount_factor,
        "gae_lambda": cfg.gae_lambda,
        "truncation": "in_rewards",
        "normalize_advantages": "none",
        "clip": getattr(cfg, "ratio_clip", None),
        "entropy_coefficient": cfg.entropy_loss_scale,
        "value_coefficient": getattr(cfg, "value_loss_scale", None),
        "max_grad_norm": cfg.grad_norm_clip or None,
    }


def _last_values(agent: Any) -> Tensor:
    """Return the critic at the states that followed the last steps, in the rewards' units."""
    inputs = {
        "observations": agent._observation_preprocessor(agent._current_next_observations),
        "states": agent._state_preprocessor(agent._current_next_states),
    }
    values, _ = agent.value.act(inputs, role="value")
    found: Tensor = agent._value_preprocessor(values, inverse=True)
    return found


def _after(agent: Any) -> dict[str, Any]:
    """Return what the update itself computed first: advantages, standardized, and returns, in the critic's units."""
    return {name: agent.memory.get_tensor_by_name(name).clone() for name in ("advantages", "returns")}


def policy_of(agent: Any) -> RowPolicy:
    """Return the policy as a function of rows of preprocessed observations; the generator's state is kept."""
    policy = agent.policy

    def answer(rows: Tensor) -> Any:
        with torch.random.fork_rng(devices=[rows.device] if rows.is_cuda else []):
            policy.act({"observations": rows, "states": None}, role="policy")
        return policy.distribution(role="policy")

    own = {name: tensor for name, tensor in policy.named_parameters() if tensor.requires_grad}
    return RowPolicy(answer, own, policy, policy)


def critic_of(agent: Any) -> Critic:
    """Return the critic as a function of rows of preprocessed observations, in its own units."""
    value = agent.value
    own = {name: tensor for name, tensor in value.named_parameters() if tensor.requires_grad}
    return Critic(lambda rows: value.act({"observations": rows, "states": None}, role="value")[0], own, value, value)
