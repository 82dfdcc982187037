"""One update from one fresh batch, audited: what it does to the policy, on its own pairs and on others.

====== ===================================================
symbol meaning
====== ===================================================
W      pairs looked at: 2, the batch's own and those held out
K      stages of the update
M      multiples of its step
D      policy parameters, flattened
====== ===================================================
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.algorithms.joint import JointSettings
from closerlook.algorithms.minibatches import pairs_of
from closerlook.algorithms.ppo import PPOSettings
from closerlook.algorithms.rules import Rule
from closerlook.algorithms.surrogate import SURROGATES, deviation
from closerlook.measurements.natural_comparison import compare_with_natural
from closerlook.measurements.policy_change import CHANGES, ComparisonBatch, entropy_share, smallest_deviations
from closerlook.measurements.policy_updates import attempt_step, sample_batch
from closerlook.measurements.stream_sums import StreamRange
from closerlook.nn.networks import Parameters, flatten
from closerlook.randomness import derive_seed
from closerlook.simulation.records import Sampling

DEFAULT_DAMPING = 0.1
"""Where the algorithm has no natural gradient of its own."""
OF_UPDATES = ("quadratic_kl", "step_fraction", "line_search_failed", "cg_residual", "cg_steps")
"""What only an update along the natural gradient tells of itself."""


OF_JOINT_UPDATES = ("policy_norm_share", "gradient_scale")
"""What only an update of policy and critic together tells of itself."""


def stages_of(rule: Rule, pairs: int) -> list[int]:
    """Return after how many minibatches an update from so many pairs is looked at; none where it is a single step.

    The first epoch after 1, 2, 4 ... minibatches, then the end of every epoch.

    Parameters
    ----------
    rule : Rule
        Which update.
    pairs : int
        Of its batch.
    """
    if isinstance(rule.settings, JointSettings):
        each, epochs = -(-pairs // (rule.settings.batch_size or pairs)), rule.settings.epochs
    elif isinstance(rule.settings, PPOSettings):
        each, epochs = min(rule.settings.minibatches, pairs), rule.settings.policy_epochs
    else:
        return []
    if rule.is_joint and each * epochs == 1:
        return []
    # most of an update's change comes early: powers of two within the first epoch
    early = [2**power for power in range(each.bit_length()) if 2**power < each]
    return early + [each * epoch for epoch in range(1, epochs + 1)]


def audit_step(
    agent: Agent,
    environment: EnvironmentSpec,
    sampling: tuple[Sampling, Sampling],
    streams: tuple[StreamRange, StreamRange],
    rule: Rule,
    multiples: Sequence[float],
    clip: float,
) -> dict[str, np.ndarray]:
    """Sample a batch as training would, take the update it gives, and look at it on that batch and on fresh pairs.

    Parameters
    ----------
    agent : Agent
        A single one.
    environment : EnvironmentSpec
        Where it acts.
    sampling : (Sampling, Sampling)
        How the streams of the batch, and of the held-out pairs, are sampled.
    streams : (StreamRange, StreamRange)
        Which ones; the update is keyed by the batch's first.
    rule : Rule
        Which update.
    multiples : sequence of float
        Of the step, at which the policy is looked at too.
    clip : float
        Epsilon of the clipped surrogate, and of the ratios counted.

    Returns
    -------
    dict of str to ndarray
        ``displacement`` (D,), NaN where the update failed: see `attempt_step`. ``stage_change``
        (W, K, 9), ``stage_surrogates`` (W, K, 3), ``multiple_change`` (W, M, 9) and ``multiple_surrogates`` (W, M, 3),
        see `closerlook.measurements.policy_change`; ``base_surrogates`` (W, 3) at the agent itself. ``slopes`` (W, 2):
        the step times the gradient of the plain and of the normalized surrogate. ``quadratic_kl`` (W,).
        ``natural_residual`` and ``natural_efficiency``: see `closerlook.measurements.natural_comparison`. What the
        update tells of itself, as ``update_...``; ``advantage_deviation``; ``action_deviations`` (A,) and
        ``entropy_share``: see `closerlook.measurements.policy_change`.
    """
    agents = Agent.stack([agent])
    batch = sample_batch(agents, environment, sampling[0], streams[0])
    seen = _Seen(agents, stages_of(rule, batch.advantages[0].numel()))
    seed = derive_seed(streams[0].seed, streams[0].purpose, stream=streams[0].first)
    step = attempt_step(agents, batch, rule, seed, watch=seen)
    other = sample_batch(agents, environment, sampling[1], streams[1])
    compared_on = [ComparisonBatch.at(agents, one, clip) for one in (batch, other)]
    vectors = [*seen.vectors, *(_moved(agents, step.displacement, multiple) for multiple in multiples)]
    changes = [[compared.change(vector) for vector in vectors] for compared in compared_on]
    change = np.array([[one.change for one in row] for row in changes]).reshape(2, -1, len(CHANGES))
    surrogates = np.array([[one.surrogates for one in row] for row in changes]).reshape(2, -1, len(SURROGATES))
    count = len(seen.vectors)
    displacement = torch.from_numpy(step.displacement)[None]
    names = (*OF_UPDATES, "constant_minibatches", *(OF_JOINT_UPDATES if rule.is_joint else ()))
    happened = {name: step.value_of(name) for name in names}
    return {
        "displacement": step.displacement,
        "stage_change": change[:, :count],
        "stage_surrogates": surrogates[:, :count],
        "multiple_change": change[:, count:],
        "multiple_surrogates": surrogates[:, count:],
        "base_surrogates": np.array([compared.change(compared.start).surrogates for compared in compared_on]),
        "slopes": np.array([compared.slopes(displacement) for compared in compared_on]),
        "quadratic_kl": np.array([compared.quadratic_kl(displacement) for compared in compared_on]),
        "action_deviations": smallest_deviations(compared_on[0].plain, compared_on[0].start),
        "entropy_share": np.array(entropy_share(compared_on[0].plain, compared_on[0].start)),
        "advantage_deviation": np.array(float(deviation(pairs_of(batch.advantages))[0])),
        **compare_with_natural(compared_on[0].objective, compared_on[0].start, displacement, damping_of(rule)),
        **{f"update_{name}": np.array(value) for name, value in happened.items()},
    }


def damping_of(rule: Rule) -> float:
    """Return the damping of the update's Fisher matrix."""
    return float(getattr(rule.settings, "damping", DEFAULT_DAMPING))


class _Seen:
    """The policy at stages of its update, as flat parameters (1, D); NaN at those an update that failed never saw."""

    def __init__(self, agents: Agent, wanted: Sequence[int]) -> None:
        self._names = list(agents.policy.parameter_shapes)
        unseen = torch.full_like(flatten(agents.policy_parameters, self._names, stacked=True), torch.nan)
        self._at: dict[int, Tensor] = dict.fromkeys(wanted, unseen)

    @property
    def vectors(self) -> list[Tensor]:
        """One for each stage, in their order."""
        return list(self._at.values())

    def __call__(self, taken: int, read: Callable[[], Parameters]) -> None:
        """Keep the parameters of a stage that is wanted."""
        if taken in self._at:
            self._at[taken] = flatten(read(), self._names, stacked=True)


def _moved(agents: Agent, displacement: np.ndarray, multiple: float) -> Tensor:
    names = list(agents.policy.parameter_shapes)
    start = flatten(agents.policy_parameters, names, stacked=True)
    # theta + m d, rounded to the policy's precision once
    return (start.double() + multiple * torch.from_numpy(displacement)).to(start.dtype)
