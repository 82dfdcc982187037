"""Batches from what libraries and scripts keep of a rollout."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from closerlook.errors import InputError
from closerlook.monitor.policies import Critic, RowPolicy, as_critic, as_policy

_FLATTENED = ("observations", "actions", "values", "log_probs", "advantages", "returns")
"""What Stable-Baselines3 flattens, environment after environment, when an update begins."""


def fields_of_sb3(model: Any) -> dict[str, Any]:
    """Take a batch's fields from a Stable-Baselines3 model; see `Batch.from_sb3`.

    Raises
    ------
    InputError
        Where there is no full rollout, or observations are dictionaries.
    """
    buffer = getattr(model, "rollout_buffer", None)
    if buffer is None or not getattr(buffer, "full", False):
        raise InputError("the model has no rollout in its buffer", "give an on-policy model after it collected one")
    if isinstance(buffer.observations, dict):
        raise InputError(
            "observations of the model are dictionaries", "give cl.Batch(...) what the policy reads of them"
        )
    shape = (buffer.buffer_size, buffer.n_envs)
    names = (*_FLATTENED, "action_masks") if hasattr(buffer, "action_masks") else _FLATTENED
    is_flat = bool(buffer.generator_ready)
    held = {name: _unflattened(np.array(getattr(buffer, name)), shape, is_flat=is_flat) for name in names}
    # the buffer knows which steps begin episodes; a step ended one where the next begins one
    starts = np.array(buffer.episode_starts, dtype=bool)
    last = np.asarray(model._last_episode_starts, dtype=bool)
    space = model.action_space
    if space.shape == ():
        held["actions"] = held["actions"].reshape(shape)
    policy, critic = agent_of_sb3(model)
    if not is_flat and critic is not None:
        # before the update the critic says what the last steps were bootstrapped by
        held["last_values"] = _last_values(model)
    if "action_masks" in held:
        held["observations"] = np.concatenate(
            [held["observations"].reshape(*shape, -1), held.pop("action_masks").reshape(*shape, -1)], axis=-1
        )
    return {
        **held,
        "rewards": np.array(buffer.rewards),
        "episode_starts": starts,
        "done": np.concatenate([starts[1:], last[None]]),
        "gamma": buffer.gamma,
        "gae_lambda": buffer.gae_lambda,
        "truncation": "in_rewards",
        "policy": policy,
        "critic": critic,
        **_settings_of_sb3(model),
    }


def agent_of_sb3(model: Any) -> tuple[RowPolicy | None, Critic | None]:
    """Return policy and critic of a model as functions of rows; where actions are masked, rows end with the masks.

    Parameters
    ----------
    model : stable_baselines3 on-policy algorithm
        Whose parameters they use as they are when they are called; None and None where they have a memory, so that rows
        do not say what they answer.
    """
    if hasattr(model.policy, "lstm_actor"):
        return None, None
    policy, critic = as_policy(model.policy), as_critic(model.policy)
    if not hasattr(model.rollout_buffer, "action_masks") or critic is None:
        return policy, critic
    shape = model.observation_space.shape
    size = int(np.prod(shape))

    def answer(rows: Tensor) -> Any:
        return model.policy.get_distribution(rows[:, :size].reshape(-1, *shape), rows[:, size:].bool())

    def value(rows: Tensor) -> Tensor:
        found: Tensor = model.policy.predict_values(rows[:, :size].reshape(-1, *shape))
        return found

    return replace(policy, call=answer), replace(critic, call=value)


def _last_values(model: Any) -> np.ndarray:
    seen, _ = model.policy.obs_to_tensor(model._last_obs)
    with torch.no_grad():
        return np.asarray(model.policy.predict_values(seen).cpu()).reshape(-1)


def _unflattened(array: np.ndarray, shape: tuple[int, int], *, is_flat: bool) -> np.ndarray:
    """Return an array of the buffer as (T, N, ...), whether or not an update has flattened it."""
    if not is_flat:
        return array
    # swapped and flattened: all steps of the first environment, then those of the second
    return array.reshape(*shape[::-1], *array.shape[1:]).swapaxes(0, 1)


def _settings_of_sb3(model: Any) -> dict[str, Any]:
    """Return what the model says of its update, by names of `Batch`."""
    settings: dict[str, Any] = {}
    if hasattr(model, "normalize_advantage"):
        # A2C has no minibatches: it standardizes over the batch
        whole = not hasattr(model, "batch_size") or model.batch_size >= model.rollout_buffer.rewards.size
        settings["normalize_advantages"] = (
            "none" if not model.normalize_advantage else "batch" if whole else "minibatch"
        )
    if callable(getattr(model, "clip_range", None)):
        settings["clip"] = model.clip_range(getattr(model, "_current_progress_remaining", 1.0))
    names = {"vf_coef": "value_coefficient", "ent_coef": "entropy_coefficient", "max_grad_norm": "max_grad_norm"}
    settings |= {ours: getattr(model, theirs) for theirs, ours in names.items() if hasattr(model, theirs)}
    space = model.action_space
    if hasattr(space, "low"):
        settings |= {"action_low": space.low, "action_high": space.high}
    return settings


CLEANRL = {"obs": "observations", "logprobs": "log_probs", "dones": "episode_starts", "next_value": "last_values"}
CLEANRL_ARGS = {
    "gamma": "gamma",
    "gae_lambda": "gae_lambda",
    "clip_coef": "clip",
    "vf_coef": "value_coefficient",
    "ent_coef": "entropy_coefficient",
    "max_grad_norm": "max_grad_norm",
}


def fields_of_cleanrl(variables: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """Take a batch's fields, those `wanted`, from a script's local variables; see `Batch.from_cleanrl`.

    Parameters
    ----------
    variables : mapping of str to object
        ``locals()`` of a script.
    wanted : collection of str
        Names of fields.

    Raises
    ------
    InputError
        Where the rewards are not among them.
    """
    if "rewards" not in variables:
        raise InputError("there are no rewards among the variables", "call it with locals() where the rollout is there")
    held = {CLEANRL.get(name, name): value for name, value in variables.items()}
    arguments = variables.get("args")
    for theirs, ours in CLEANRL_ARGS.items():
        if ours not in held and hasattr(arguments, theirs):
            held[ours] = getattr(arguments, theirs)
    if held.get("value_coefficient") is not None and "value_coefficient" not in variables:
        held["value_coefficient"] *= 0.5  # these scripts take half the mean squared error
    normalized = getattr(arguments, "norm_adv", None)
    if normalized is not None:
        held.setdefault("normalize_advantages", "minibatch" if normalized else "none")
    if "done" not in variables or "next_done" in variables:
        held.pop("done", None)  # in these scripts the flags of the last environment step alone
    if "next_done" in variables and "dones" in variables:
        starts, last = (np.asarray(_on_cpu(variables[name])) for name in ("dones", "next_done"))
        held["done"] = np.concatenate([starts[1:], last.reshape(1, -1)])
    held.setdefault("truncation", "terminate")
    agent = variables.get("agent")
    if agent is not None:
        held |= {"policy": agent, "critic": agent}
    shape = np.shape(_on_cpu(variables["rewards"]))[:2]
    return {name: value for name, value in held.items() if name in wanted and _fits(name, value, shape)}


def _on_cpu(value: Any) -> Any:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _fits(name: str, value: Any, shape: tuple[int, ...]) -> bool:
    """Whether a variable can be the field of its name: scripts have others that are called alike (truncations ...)."""
    if name in {"truncated", "terminated", "next_observations", "applied_actions", "minibatches"}:
        return bool(np.shape(_on_cpu(value))[:2] == shape)
    return name not in {"clip", "max_grad_norm"} or value is not None
