"""A training batch: what a policy-gradient trainer has in hand after it computed advantages.

====== ===================================
symbol meaning
====== ===================================
T      steps of each environment
N      environments
A      components of an action
====== ===================================
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from closerlook.errors import InputError
from closerlook.monitor.batch_files import read_fields, write_fields
from closerlook.monitor.policies import Critic, RowPolicy, as_critic, as_policy
from closerlook.monitor.recomputed import describe_policy
from closerlook.monitor.sources import fields_of_cleanrl, fields_of_sb3

Truncation = Literal["bootstrap", "terminate", "in_rewards"]
"""What the trainer takes to follow a truncated step: ``bootstrap``, the value of the state that followed
(`Batch.truncation_values`); ``terminate``, nothing, as after a termination; ``in_rewards``, that value, discounted,
which was added to the step's reward, as Stable-Baselines3 does."""
Normalization = Literal["none", "batch", "minibatch"]
"""How the update standardizes the advantages that it is given."""

PER_STEP = (
    *("rewards", "raw_rewards", "log_probs", "values", "advantages", "used_advantages", "returns"),
    *("truncation_values", "policy_log_probs", "critic_values"),
)
"""Fields with a number for each step, (T, N)."""
FLAGS = ("terminated", "truncated", "done", "episode_starts")
ARRAYS_PER_STEP = (
    *("observations", "raw_observations", "next_observations", "actions", "applied_actions"),
    *("policy_mean", "policy_std", "policy_logits"),
)
"""Fields with an array for each step, (T, N, ...)."""
BOUNDS = ("action_low", "action_high")
NUMBERS = ("gamma", "gae_lambda", "clip", "value_coefficient", "entropy_coefficient", "max_grad_norm")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "truncation": get_args(Truncation),
    "normalize_advantages": get_args(Normalization),
}
Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """One batch of training, as arrays or tensors on any device, in any precision. Only `rewards` must be given.

    What is missing makes a check of `closerlook.lint` say ``unknown``. Tensors become NumPy arrays; what is given is
    never changed.

    Parameters
    ----------
    rewards : array_like, (T, N)
        Rewards from which advantages were computed: scaled and clipped, where the trainer scales and clips them.
    raw_rewards : array_like, (T, N), optional
        Rewards as the environment gave them.
    observations : array_like, (T, N, ...), optional
        What the policy was given: normalized, where the trainer normalizes.
    raw_observations, next_observations : array_like, (T, N, ...), optional
        Observations before normalization; the observation that each step led to, final ones of episodes included, in
        the form of `observations`.
    actions : array_like, (T, N) or (T, N, A), optional
        Actions as stored beside `log_probs`.
    applied_actions : array_like, like `actions`, optional
        Actions as the environment took them.
    log_probs : array_like, (T, N), optional
        Log-probabilities of `actions`, stored while sampling.
    values : array_like, (T, N), optional
        The critic at `observations`, stored while sampling.
    last_values : array_like, (N,), optional
        The critic at the states that followed the last steps.
    truncation_values : array_like, (T, N), optional
        The critic at the state that followed each truncated step; anything, or NaN, elsewhere.
    terminated, truncated : array_like, (T, N), optional
        Whether step t ended its episode, by the environment's own end or from outside (time limit). Booleans, or
        numbers that are all 0 or 1.
    done : array_like, (T, N), optional
        Whether step t ended its episode in either way, where a trainer does not tell which.
    episode_starts : array_like, (T, N), optional
        Whether step t is the first of its episode.
    advantages, returns : array_like, (T, N), optional
        As the trainer computed them.
    used_advantages : array_like, (T, N), optional
        Advantages as they entered the loss of the first epoch.
    minibatches : array_like, (T, N), optional
        Which minibatch of the first epoch each pair was in.
    gamma, gae_lambda : float, optional
        Discount factor, and lambda of generalized advantage estimation.
    truncation : {"bootstrap", "terminate", "in_rewards"}
        What is meant to follow a truncated step, see `Truncation`.
    normalize_advantages : {"none", "batch", "minibatch"}, optional
        How the update standardizes `advantages`.
    action_low, action_high : array_like, (A,), optional
        Bounds of the action space.
    clip, value_coefficient, entropy_coefficient, max_grad_norm : float, optional
        Of the update: PPO's epsilon, weights of value loss and entropy, and the norm gradients are cut to.
    policy : callable, torch.nn.Module or policy of a library, optional
        The policy that sampled: maps observations (B, ...) to a distribution with ``log_prob`` and ``entropy``.
    critic : callable or torch.nn.Module, optional
        The critic that gave `values`: maps observations (B, ...) to values (B,) or (B, 1).
    policy_mean, policy_std, policy_logits, policy_log_probs, critic_values : array_like, optional
        What policy and critic say of this batch, in place of them: `save` fills these in.

    Raises
    ------
    InputError
        Where shapes do not fit, flags are not flags, or a number means nothing.

    See Also
    --------
    closerlook.lint : recompute what it holds.
    closerlook.census : count what it holds.

    Examples
    --------
    >>> import closerlook as cl
    >>> batch = cl.Batch(rewards=[[1.0], [1.0]], values=[[0.5], [0.5]], done=[[False], [True]], gamma=0.9)
    >>> batch.steps, batch.environments
    (2, 1)
    """

    rewards: Array
    raw_rewards: Array | None = None
    observations: Array | None = None
    raw_observations: Array | None = None
    next_observations: Array | None = None
    actions: Array | None = None
    applied_actions: Array | None = None
    log_probs: Array | None = None
    values: Array | None = None
    last_values: Array | None = None
    truncation_values: Array | None = None
    terminated: Array | None = None
    truncated: Array | None = None
    done: Array | None = None
    episode_starts: Array | None = None
    advantages: Array | None = None
    returns: Array | None = None
    used_advantages: Array | None = None
    minibatches: Array | None = None
    gamma: float | None = None
    gae_lambda: float | None = None
    truncation: Truncation = "bootstrap"
    normalize_advantages: Normalization | None = None
    action_low: Array | None = None
    action_high: Array | None = None
    clip: float | None = None
    value_coefficient: float | None = None
    entropy_coefficient: float | None = None
    max_grad_norm: float | None = None
    policy: RowPolicy | Any = None
    critic: Critic | Any = None
    policy_mean: Array | None = None
    policy_std: Array | None = None
    policy_logits: Array | None = None
    policy_log_probs: Array | None = None
    critic_values: Array | None = None

    def __post_init__(self) -> None:
        """Take arrays for what they are, and refuse what cannot be."""
        rewards = _as_array("rewards", self.rewards)
        shape = self._set("rewards", rewards[..., 0] if rewards.ndim == 3 and rewards.shape[2] == 1 else rewards).shape
        if len(shape) != 2 or 0 in shape:
            raise InputError(
                f"rewards have the shape {list(shape)}", "give (steps, environments), rewards[:, None] for one"
            )
        for name in self._given(*PER_STEP, "minibatches", *FLAGS, *ARRAYS_PER_STEP):
            array = _like(name, _as_array(name, getattr(self, name)), shape)
            self._set(name, _as_flags(name, array) if name in FLAGS else array)
        self._settle_ends()
        for name in self._given("last_values", *BOUNDS):
            self._set(name, _as_array(name, getattr(self, name)).reshape(-1))
        if self.last_values is not None and self.last_values.shape != shape[1:]:
            raise InputError(f"last_values has {self.last_values.size} numbers", f"give {shape[1]}, one an environment")
        for name in self._given(*CHOICES):
            if getattr(self, name) not in CHOICES[name]:
                raise InputError(f"{name} is {getattr(self, name)!r}", f"choose from {', '.join(CHOICES[name])}")
        for name in NUMBERS:
            self._set(name, _as_number(name, getattr(self, name)))
        self._set("policy", None if self.policy is None else as_policy(self.policy))
        self._set("critic", None if self.critic is None else as_critic(self.critic))

    def _given(self, *names: str) -> list[str]:
        return [name for name in names if getattr(self, name) is not None]

    def _set(self, name: str, value: Any) -> Any:
        object.__setattr__(self, name, value)
        return value

    def _settle_ends(self) -> None:
        """Complete the flags of ends from one another: done is terminated or truncated."""
        ended, cut, done = self.terminated, self.truncated, self.done
        if ended is not None and cut is not None:
            if bool((ended & cut).any()):
                self._set("truncated", cut & ~ended)  # a termination at the limit is a termination
            both = ended | cut
            if done is not None and not np.array_equal(done, both):
                raise InputError("done is not terminated or truncated", "leave done out where both others are given")
            self._set("done", both)
        elif done is not None and ended is not None:
            self._set("truncated", done & ~ended)
        elif done is not None and cut is not None:
            self._set("terminated", done & ~cut)

    @property
    def steps(self) -> int:
        """T."""
        return int(self.rewards.shape[0])

    @property
    def environments(self) -> int:
        """N."""
        return int(self.rewards.shape[1])

    @property
    def pairs(self) -> int:
        """State-action pairs, T times N."""
        return int(self.rewards.size)

    @property
    def ends(self) -> NDArray[np.bool_] | None:
        """Whether the episode ended with each step, (T, N); of the last step unknown ends count as none."""
        if self.done is not None:
            return self.done
        if self.episode_starts is not None:
            last = np.zeros((1, self.environments), dtype=bool)
            return np.concatenate([self.episode_starts[1:], last])
        return self.terminated if self.truncated is None else self.truncated

    def replace(self, **changes: Any) -> "Batch":
        """Return this batch with other fields.

        Where flags of ends are given anew, those that follow from them are settled again.
        """
        if {"terminated", "truncated"} & set(changes) and "done" not in changes:
            changes["done"] = None
        elif "done" in changes and not {"terminated", "truncated"} & set(changes):
            changes |= {"terminated": None, "truncated": None}
        return replace(self, **changes)

    def frozen(self) -> "Batch":
        """Return this batch with policy and critic as they are now, whatever an update makes of their parameters."""
        policy, critic = (None if one is None else one.frozen() for one in (self.policy, self.critic))
        return replace(self, policy=policy, critic=critic)

    @staticmethod
    def from_sb3(model: Any) -> "Batch":
        """Take the batch that a Stable-Baselines3 or sb3-contrib model has in its rollout buffer.

        Before the model's own update or after it, that of the last rollout; policy and critic are the model's as they
        are now, so only before the update do stored log-probabilities belong to them. Which ends were truncations is
        not in the buffer: `closerlook.adapters.sb3.MonitorCallback` knows.

        Parameters
        ----------
        model : stable_baselines3 on-policy algorithm
            PPO, A2C, TRPO, MaskablePPO ...; observations that are one array.

        Raises
        ------
        InputError
            Where there is no rollout, or observations are dictionaries.
        """
        return Batch(**fields_of_sb3(model))

    @staticmethod
    def from_cleanrl(variables: Mapping[str, Any]) -> "Batch":
        """Take the batch of a script in CleanRL's style from its local variables, by their usual names.

        Parameters
        ----------
        variables : mapping
            ``locals()`` after advantages were computed: ``obs, actions, logprobs, rewards, dones, values, advantages,
            returns, next_done, next_value``, and ``agent`` and ``args`` where they are there. ``dones[t]`` says that
            step t is the first of an episode. Names of `Batch` beside them (``truncated``, ``terminated``) are taken as
            they are.

        Raises
        ------
        InputError
            Where the rewards are not among them.
        """
        return Batch(**fields_of_cleanrl(variables, {*FIELDS, "policy", "critic"}))

    def save(self, file: str | Path) -> Path:
        """Write the batch as a NumPy ``.npz`` file, with what policy and critic say of it in place of them.

        Raises
        ------
        InputError
            Where the file cannot be written.
        """
        return write_fields(Path(file), {name: getattr(self, name) for name in FIELDS} | describe_policy(self))

    @staticmethod
    def load(file: str | Path) -> "Batch":
        """Read a file that `save` wrote, or any ``.npz`` whose arrays have the names of this class' fields.

        Nothing in it is run or unpickled, and no memory is taken for arrays that the file does not hold.

        Raises
        ------
        InputError
            Where it is no such file.
        """
        return Batch(**read_fields(Path(file), FIELDS, NUMBERS, tuple(CHOICES)))


FIELDS = tuple(field.name for field in fields(Batch) if field.name not in {"policy", "critic"})
"""What a file holds."""


def _as_array(name: str, given: Any) -> Array:
    """Return tensors of any device and precision, and nested lists, as an array of numbers."""
    if hasattr(given, "detach"):
        tensor = given.detach().cpu()
        given = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    try:
        array = np.asarray(given)
    except (ValueError, TypeError):
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} is not an array of numbers", "give an array or a tensor")
    return array


def _like(name: str, array: Array, shape: tuple[int, ...]) -> Array:
    per_step = name not in ARRAYS_PER_STEP
    if per_step and array.shape == (*shape, 1):
        array = array[..., 0]
    if array.shape[:2] != shape or (per_step and array.ndim != 2):
        raise InputError(
            f"{name} has the shape {list(array.shape)}, rewards {list(shape)}", "give (steps, environments) for all"
        )
    return array


def _as_flags(name: str, array: Array) -> Array:
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        odd = array[~np.isin(array, (0, 1))].ravel()[0]
        raise InputError(f"{name} holds {odd}", "give booleans, or numbers that are 0 or 1")
    return array.astype(bool)


def _as_number(name: str, given: Any) -> float | None:
    if given is None:
        return None
    try:
        number = float(given)
    except (TypeError, ValueError):
        number = np.nan
    most = 1.0 if name.startswith("ga") else np.inf
    if not 0.0 <= number <= most:
        raise InputError(
            f"{name} must be a number from 0{' to 1' if most == 1.0 else ' on'} (got {given!r})",
            f"give a number from 0{' to 1' if most == 1.0 else ' on'}",
        )
    return number
