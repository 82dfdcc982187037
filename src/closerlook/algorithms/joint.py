"""PPO and A2C as Stable-Baselines3 makes them: one loss, one optimizer and one gradient norm for policy and critic.

====== ==========================================
symbol meaning
====== ==========================================
N      pairs of a batch
M      pairs of a minibatch
====== ==========================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.minibatches import pairs_of
from closerlook.algorithms.ppo import Watch
from closerlook.algorithms.settings import require_numbers
from closerlook.algorithms.update import UpdateInfo, describe_update, require_finite
from closerlook.errors import InputError
from closerlook.nn.networks import Parameters
from closerlook.randomness import generator

SHARED = "shared."
"""Parameters of policy and critic whose names begin so are the same ones."""


@dataclass(frozen=True)
class OptimizerFields:
    """Which optimizer steps, and how."""

    learning_rate: float = 3e-4
    """Its learning rate, as it is at this update."""
    optimizer: Literal["adam", "rmsprop", "rmsprop_tf"] = "adam"
    """Adam, RMSprop as in PyTorch, or as in TensorFlow (epsilon under the root, squares that begin at 1)."""
    optimizer_epsilon: float = 1e-5
    """Keeps its divisor positive."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay of first and second moments."""
    alpha: float = 0.99
    """RMSprop's decay of squares."""
    weight_decay: float = 0.0
    """Multiple of the parameters added to their gradient."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        require_numbers(self, ("learning_rate", "optimizer_epsilon", "alpha", "weight_decay"), positive=False)
        if self.optimizer not in {"adam", "rmsprop", "rmsprop_tf"}:
            raise InputError(
                f"optimizer must be one of three (got {self.optimizer!r})", "choose from adam, rmsprop, rmsprop_tf"
            )


@dataclass(frozen=True)
class JointSettings(OptimizerFields):
    """Settings of a joint update; the defaults are the library's for PPO."""

    epochs: int = 10
    """Passes through a batch."""
    batch_size: int | None = 64
    """Pairs of a minibatch, the last of a pass having what is left; none: the whole batch."""
    clip: float | None = 0.2
    """How far from 1 the probability ratio still counts; none: the plain policy gradient of A2C."""
    value_clip: float | None = None
    """How far a value may move from the old one before it is held there; none: as far as it goes."""
    value_coefficient: float = 0.5
    """Weight of the critic's squared error in the loss."""
    entropy_coefficient: float = 0.0
    """Weight of the policy's entropy in the loss; a negative one lowers entropy."""
    max_grad_norm: float | None = 0.5
    """Longer gradients of policy and critic together are shortened to this norm; none: never."""
    target_kl: float | None = None
    """An update ends where a minibatch's estimate of the KL is above 1.5 times this; none: never."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        super().__post_init__()
        require_numbers(self, ("epochs", "batch_size", "clip", "value_clip", "target_kl"), positive=True)
        require_numbers(self, ("value_coefficient", "max_grad_norm"), positive=False)
        require_numbers(self, ("entropy_coefficient",), positive=None)


@dataclass(frozen=True)
class JointInfo(UpdateInfo):
    """What happened in a joint update, beside what `UpdateInfo` says; means are over its minibatches.

    Parameters
    ----------
    policy_norm_share : ndarray
        Norm of the policy's gradient as a share of the norm of both, which is what is bounded: near 0, the critic
        takes the whole step.
    gradient_scale : ndarray
        What gradients were multiplied by, 1 where they were short enough.
    minibatches : ndarray
        Steps taken: fewer than there are where the update ended early.
    """

    policy_norm_share: np.ndarray
    gradient_scale: np.ndarray
    minibatches: np.ndarray


class Optimizer:
    """Parameters of one agent while they are optimized, with the moments that an earlier update left.

    Parameters
    ----------
    agent : Agent
        A single one.
    settings : OptimizerFields
        How.
    """

    def __init__(self, agent: Agent, settings: OptimizerFields) -> None:
        self._settings = settings
        parts = {"policy": agent.policy_parameters, "value": agent.value_parameters}
        self._local = {part: list(own) for part, own in parts.items()}
        self.parameters: dict[str, Tensor] = {}
        for part, own in parts.items():
            for name, tensor in own.items():
                self.parameters.setdefault(_unique(part, name), tensor.detach().clone().requires_grad_())
        # Adam keeps m and v, RMSprop v alone; TensorFlow's begins at 1
        kinds = ("exp_avg", "exp_avg_sq") if settings.optimizer == "adam" else ("square_avg",)
        begin = torch.ones_like if settings.optimizer == "rmsprop_tf" else torch.zeros_like
        self._moments: dict[str, dict[str, Tensor]] = {kind: {} for kind in kinds}
        self._steps: dict[str, int] = {}
        for part, own in parts.items():
            kept = agent.part(f"optimizer.{part}")
            for name, tensor in own.items():
                at = _unique(part, name)
                for kind in kinds:
                    moment = kept.get(f"{kind}.{name}", begin(tensor))
                    self._moments[kind].setdefault(at, moment.detach().clone())
                self._steps.setdefault(at, int(kept["step"]) if "step" in kept else 0)

    def part(self, part: str) -> dict[str, Tensor]:
        """Return the parameters of policy or critic by their own names."""
        return {name: self.parameters[_unique(part, name)] for name in self._local[part]}

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Take a step down gradients, by the names of `parameters`; a parameter without one stays."""
        how = self._settings
        for at, slope in gradients.items():
            parameter = self.parameters[at]
            gradient = slope + how.weight_decay * parameter if how.weight_decay else slope
            self._steps[at] += 1
            if how.optimizer == "adam":
                # m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
                # theta -= rate m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon)
                first, second = self._moments["exp_avg"][at], self._moments["exp_avg_sq"][at]
                first.mul_(how.betas[0]).add_(gradient, alpha=1.0 - how.betas[0])
                second.mul_(how.betas[1]).addcmul_(gradient, gradient, value=1.0 - how.betas[1])
                bias, square_bias = (1.0 - beta ** self._steps[at] for beta in how.betas)
                divisor = second.sqrt() / square_bias**0.5 + how.optimizer_epsilon
                parameter.addcdiv_(first, divisor, value=-how.learning_rate / bias)
            else:
                # v = a v + (1 - a) g^2;  theta -= rate g / (sqrt(v) + epsilon), or rate g / sqrt(v + epsilon)
                square = self._moments["square_avg"][at]
                square.mul_(how.alpha).addcmul_(gradient, gradient, value=1.0 - how.alpha)
                under = how.optimizer == "rmsprop_tf"
                divisor = (square + how.optimizer_epsilon).sqrt() if under else square.sqrt() + how.optimizer_epsilon
                parameter.addcdiv_(gradient, divisor, value=-how.learning_rate)

    def changes(self) -> dict[str, dict[str, Tensor]]:
        """Return parameters, moments and steps as parts of a single agent's state."""
        found: dict[str, dict[str, Tensor]] = {}
        for part, names in self._local.items():
            if not names:
                continue
            found[part] = {name: tensor.detach().clone() for name, tensor in self.part(part).items()}
            moments = {
                f"{kind}.{name}": own[_unique(part, name)].clone()
                for kind, own in self._moments.items()
                for name in names
            }
            # parts that both use step with either, so a part's own parameters tell how often it stepped
            own_names = [name for name in names if not name.startswith(SHARED)] or names
            found[f"optimizer.{part}"] = {**moments, "step": torch.tensor(self._steps[_unique(part, own_names[0])])}
        return found


def _unique(part: str, name: str) -> str:
    return name if name.startswith(SHARED) else f"{part}.{name}"


@dataclass
class _Tally:
    shares: list[float] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)


def joint_update(
    agents: Agent,
    batch: Batch,
    settings: JointSettings,
    *,
    seeds: Sequence[int],
    iteration: int,
    watch: Watch | None = None,
) -> tuple[Agent, JointInfo]:
    """Update the policies and critics of a population together.

    Parameters
    ----------
    agents : Agent
        A population of P, with critics.
    batch : Batch
        What to compute the update from, (P, S, T).
    settings : JointSettings
        How.
    seeds : sequence of int, (P,)
        Each member's own; the minibatches are keyed by them.
    iteration : int
        Updates made before: keys the minibatches.
    watch : callable, optional
        Told of every minibatch; of a population of one.

    Returns
    -------
    agents : Agent
        Updated parameters and optimizer state; everything else as it was.
    info : JointInfo
        What happened.

    Raises
    ------
    InputError
        Where the agents have no critic.
    NonFiniteError
        Where a parameter is no longer finite.

    References
    ----------
    ``stable_baselines3/ppo/ppo.py`` and ``a2c/a2c.py``, ``train``, of version 2.9.
    """
    if agents.value is None:
        raise InputError("an update of policy and critic together needs a critic", "give --algo another update")
    members, tallies = [], []
    for place, (agent, seed) in enumerate(zip(agents.unstack(), seeds, strict=True)):
        own = batch.of_policies(slice(place, place + 1))
        member, tally = _update_one(agent, own, settings, seed, iteration, watch)
        members.append(member)
        tallies.append(tally)
    updated = Agent.stack(members)
    require_finite(updated, iteration)
    clip = settings.clip if settings.clip is not None else np.inf
    constant = torch.zeros(len(members), dtype=torch.int64)
    base = describe_update(agents, updated, batch, clip=clip, constant=constant)
    more = {
        "policy_norm_share": [np.mean(tally.shares or [np.nan]) for tally in tallies],
        "gradient_scale": [np.mean(tally.scales or [np.nan]) for tally in tallies],
        "minibatches": [len(tally.scales) for tally in tallies],
    }
    return updated, JointInfo(**base.columns(), **{name: np.array(values, float) for name, values in more.items()})


def _update_one(
    agent: Agent, batch: Batch, settings: JointSettings, seed: int, iteration: int, watch: Watch | None
) -> tuple[Agent, _Tally]:
    optimizer, tally = Optimizer(agent, settings), _Tally()
    columns = [
        pairs_of(column)[0]
        for column in (
            batch.observations,
            batch.actions,
            batch.log_probs,
            batch.advantages,
            batch.values,
            batch.gae_targets,
        )
    ]
    pairs = len(columns[0])
    size = settings.batch_size or pairs
    for epoch in range(settings.epochs):
        order = torch.from_numpy(generator(seed, "minibatches", stream=iteration, episode=epoch).permutation(pairs))
        # the last minibatch of a pass has what is left, as in the library
        for chosen in torch.split(order, size):
            losses = _losses(agent, optimizer, [column[chosen] for column in columns], settings)
            if losses is None:
                if watch is not None:  # the minibatches that are left change nothing
                    for later in range(len(tally.scales), settings.epochs * -(-pairs // size)):
                        watch(later + 1, lambda: _stacked(optimizer.part("policy")))
                return agent.with_state(optimizer.changes()), tally
            _descend(optimizer, *losses, settings, tally)
            if watch is not None:
                watch(len(tally.scales), lambda: _stacked(optimizer.part("policy")))
    return agent.with_state(optimizer.changes()), tally


def _stacked(parameters: Parameters) -> dict[str, Tensor]:
    return {name: tensor.detach().clone().unsqueeze(0) for name, tensor in parameters.items()}


def _losses(
    agent: Agent, optimizer: Optimizer, columns: Sequence[Tensor], settings: JointSettings
) -> tuple[Tensor, Tensor] | None:
    """Return the loss of the policy and the weighted one of the critic; None where the KL says to stop."""
    observations, actions, old_log_probs, advantages, old_values, targets = columns
    distribution = agent.policy.distribution(optimizer.part("policy"), observations)
    log_probs = distribution.log_prob(actions)
    if agent.normalize_advantages and len(advantages) > 1:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    change = log_probs - old_log_probs
    if settings.target_kl is not None:
        # E[r - 1 - log r], which is never negative and estimates KL(old || new) (Schulman, "Approximating KL")
        estimate = float((torch.exp(change) - 1.0 - change).mean())
        if estimate > 1.5 * settings.target_kl:
            return None
    if settings.clip is None:
        surrogate = advantages * log_probs
    else:
        ratio = torch.exp(change)
        held = ratio.clamp(1.0 - settings.clip, 1.0 + settings.clip)
        # eq. 7 of Schulman et al. (2017)
        surrogate = torch.minimum(advantages * ratio, advantages * held)
    entropy = distribution.entropy()
    if bool(entropy.isnan().all()):  # no formula is known: the library takes the mean of minus the log probabilities
        entropy = -log_probs
    # loss = -L_clip - c_entropy H + c_value (y - V)^2, the library's weights
    policy_loss = -surrogate.mean()
    if settings.entropy_coefficient:
        policy_loss = policy_loss - settings.entropy_coefficient * entropy.mean()
    assert agent.value is not None
    values = agent.value(optimizer.part("value"), observations)
    if settings.value_clip is not None:
        values = old_values + (values - old_values).clamp(-settings.value_clip, settings.value_clip)
    return policy_loss, settings.value_coefficient * (targets - values).square().mean()


def _descend(
    optimizer: Optimizer, policy_loss: Tensor, value_loss: Tensor, settings: JointSettings, tally: _Tally
) -> None:
    """Take one step down the sum of both losses, whose gradients are bounded together."""
    own = {part: optimizer.part(part) for part in ("policy", "value")}
    slopes = {
        part: dict(
            zip(own[part], torch.autograd.grad(loss, list(own[part].values()), materialize_grads=True), strict=True)
        )
        for part, loss in (("policy", policy_loss), ("value", value_loss))
    }
    # parameters that both use get the sum of both slopes
    gradients: dict[str, Tensor] = {}
    for part, named in slopes.items():
        for name, slope in named.items():
            at = _unique(part, name)
            gradients[at] = gradients[at] + slope if at in gradients else slope
    total = _norm(gradients.values())
    # clip_grad_norm_ of torch: g min(1, bound / (|g| + 1e-6))
    scale = min(1.0, settings.max_grad_norm / (total + 1e-6)) if settings.max_grad_norm is not None else 1.0
    tally.shares.append(_norm(slopes["policy"].values()) / total if total > 0 else np.nan)
    tally.scales.append(scale)
    optimizer.step({at: slope * scale for at, slope in gradients.items()})


def _norm(tensors: Any) -> float:
    return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors])))
