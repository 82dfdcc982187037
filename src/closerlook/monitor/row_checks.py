"""Whether rows of a batch fit together: flags, the row that an automatic reset leaves behind, the update's sign.

====== ==================================
symbol meaning
====== ==================================
T, N   steps, environments
====== ==================================
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from closerlook.monitor.advantage_checks import BY_CHANCE
from closerlook.monitor.batch import Batch
from closerlook.monitor.checks import Check, ok, unknown
from closerlook.monitor.gradient_estimates import flat_gradient
from closerlook.monitor.policies import ROWS, RowPolicy, as_policy, rows_of
from closerlook.monitor.recomputed import policy_log_probs

FEWEST_PAIRS = 64
"""Pairs below which the direction of an update is not judged."""
SIGN = 4.0
"""How many times what chance does a correlation is below zero that was turned around."""

OPPOSITE = -0.5
"""Cosine of a step that no memory of an optimizer explains."""


def check_flags(batch: Batch) -> Check:
    """Compare flags of ends with flags of starts: a step after an end begins an episode, and no other does."""
    if batch.episode_starts is None or batch.done is None:
        return unknown("flags", "both flags of ends and episode_starts")
    if batch.steps < 2:
        return unknown("flags", "second step")
    # done[t] and episode_starts[t + 1] say the same
    expected, starts = batch.done[:-1], batch.episode_starts[1:]
    differs = expected != starts
    if not differs.any():
        return ok("flags", "steps after ends begin episodes, and no others do", ends=int(batch.done.sum()))
    shifted = any(
        np.array_equal(batch.done[own], batch.episode_starts[other])
        for own, other in ((slice(None), slice(None)), (slice(None, -2), slice(2, None)))
    )
    step, environment = np.argwhere(differs)[0]
    says = "flags of ends are those of a neighboring step" if shifted else "flags of ends and of starts contradict"
    return Check(
        check="flags",
        level="problem",
        diagnosis="flags_shifted" if shifted else "flags_contradict",
        statement=f"{says}, at {int(differs.sum()):,} steps",
        advice="check whether done[t] says that step t ended an episode or that it begins one",
        evidence={"steps_that_differ": int(differs.sum()), "ends": int(batch.done.sum())},
        first_step=int(step),
        first_environment=int(environment),
    )


def check_autoreset(batch: Batch) -> Check:
    """Look for rows that hold no transition: what a vector environment returns while it resets in the next step."""
    if batch.ends is None or batch.observations is None:
        return unknown("autoreset", "flags of ends and observations")
    # a vector environment that resets in the next step leaves a row whose action is ignored
    ends = batch.ends.copy()
    ends[-2:] = False  # what the row after the end leads to must be in the batch
    places = np.argwhere(ends)
    if len(places) == 0:
        return unknown("autoreset", "episode that ends before its last two steps")
    steps, environments = places[:, 0] + 1, places[:, 1]
    if not _are_autoreset_rows(batch, steps, environments):
        return ok("autoreset", f"rows after {len(places):,} ends begin episodes", ends=len(places))
    return Check(
        check="autoreset",
        level="problem",
        diagnosis="autoreset_row_kept",
        statement=f"after each of {len(places):,} ends stands a row without a transition: its observation ends an "
        "episode, its action was ignored, its reward is 0",
        advice="drop these rows, or make the vector environment with autoreset_mode=AutoresetMode.SAME_STEP",
        evidence={"rows": len(places), "share_of_rows": len(places) / batch.pairs},
        first_step=int(steps[0]),
        first_environment=int(environments[0]),
    )


def _are_autoreset_rows(batch: Batch, steps: np.ndarray, environments: np.ndarray) -> bool:
    """See whether every row after an end has reward 0, as hardly any other has, and stands where the episode ended."""
    assert batch.observations is not None
    rewards = batch.rewards if batch.raw_rewards is None else batch.raw_rewards
    if (rewards[steps, environments] != 0).any():
        return False
    rows = batch.observations.reshape(*batch.rewards.shape, -1).astype(np.float64)
    into = rows[steps, environments] - rows[steps - 1, environments]
    out_of = rows[steps + 1, environments] - rows[steps, environments]
    if batch.next_observations is not None:
        final = batch.next_observations.reshape(*batch.rewards.shape, -1)[steps - 1, environments]
        return bool((rows[steps, environments] == final).all())
    others = np.ones(rewards.shape, dtype=bool)
    others[steps, environments] = False
    # a reward of 0 may be usual: how likely are so many of them by chance
    zeros = float((rewards[others] == 0).mean()) if others.any() else 1.0
    spread = rows.reshape(-1, rows.shape[-1]).std(axis=0) + 1e-12
    # the jump to the next episode comes after the row, not before it
    return zeros ** len(steps) <= BY_CHANCE and bool(np.abs(into / spread).sum() < np.abs(out_of / spread).sum())


def check_sign(batch: Batch, after: Any) -> Check:
    """See whether the update made actions of positive advantage more likely.

    Changes of log-probabilities are correlated with advantages: an update that has nothing to do with those of this
    batch has a correlation of about ``1 / sqrt(n)`` either way over n pairs, and so has one that an optimizer's memory
    of earlier batches carries on. Where both policies have their parameters, the step is also compared with the
    surrogate's gradient at its start, ``1 / sqrt(D)`` either way for D parameters. It is wrong where both say so, or
    where the step is about the opposite of the gradient.

    Parameters
    ----------
    batch : Batch
        What the update was computed from.
    after : policy
        The policy after it, of any kind that `Batch` takes.
    """
    needed = {name: getattr(batch, name) for name in ("advantages", "observations", "actions", "policy")}
    missing = [name for name, array in needed.items() if array is None]
    if after is None or missing:
        return unknown("update_sign", "policy after the update" if after is None else missing[0])
    new = as_policy(after)
    enough = batch.pairs >= FEWEST_PAIRS
    found = [one for one in (_step_cosine(batch, new), _correlation(batch, new)) if one is not None and enough]
    if not found:
        return Check("update_sign", "not_enough_data", "unknown", "the update moved too little, or too few pairs")
    said = " and ".join(f"the {words} is {cosine:+.3f}" for words, cosine, _ in found)
    evidence = {words.replace(" ", "_"): cosine for words, cosine, _ in found}
    evidence["chance"] = 1 / float(np.sqrt(found[-1][2]))
    # of two unrelated directions in n dimensions the cosine has a standard deviation of 1 / sqrt(n)
    turned = all(cosine <= -SIGN / np.sqrt(units) for _, cosine, units in found)
    if not turned and found[0][1] > OPPOSITE:
        follows = "the update follows its advantages" if found[0][1] > 0 else "the update has no clear direction"
        return ok("update_sign", f"{follows}: {said}", **evidence)
    return Check(
        check="update_sign",
        level="problem",
        diagnosis="update_sign_wrong",
        statement=f"the update made actions of high advantage less likely: {said}",
        advice="check the sign of the policy loss: it is minus the surrogate",
        evidence=evidence,
    )


def _step_cosine(batch: Batch, after: RowPolicy) -> tuple[str, float, int] | None:
    """Return the cosine of the step to the surrogate's gradient, and how many parameters there are."""
    before, weights = batch.policy, batch.advantages
    assert before is not None
    assert weights is not None
    names = [name for name, tensor in before.parameters.items() if tensor.shape == _shape(after.parameters.get(name))]
    if not names or any(before.parameters[name] is after.parameters[name] for name in names):
        return None
    step = torch.cat([(after.parameters[name] - before.parameters[name]).detach().reshape(-1).cpu() for name in names])
    cosines, moved = [], 0
    # minibatches are standardized by means of their own: a step is turned around only if it is so either way
    for standardize in (False, True):
        gradient = surrogate_gradient(batch, [before.parameters[name] for name in names], standardize=standardize)
        # parameters that the surrogate does not depend on, the critic's, say nothing of the sign
        own = gradient != 0
        norms = float(gradient.double().norm() * step[own].double().norm())
        if np.isfinite(norms) and norms > 0:
            cosines.append(float(gradient[own].double() @ step[own].double()) / norms)
            moved = int(own.sum())
    return ("cosine of step and gradient", max(cosines), moved) if cosines else None


def _shape(tensor: Tensor | None) -> torch.Size | None:
    return None if tensor is None else tensor.shape


def surrogate_gradient(batch: Batch, parameters: Sequence[Tensor], *, standardize: bool) -> Tensor:
    """Return the gradient of ``mean A log pi`` at the policy that sampled: flat, on the CPU.

    Parameters
    ----------
    batch : Batch
        With policy, observations, actions and advantages.
    parameters : sequence of Tensor
        By what, in this order.
    standardize : bool
        Whether advantages are standardized over the batch first.
    """
    assert batch.policy is not None
    assert batch.observations is not None
    assert batch.actions is not None
    assert batch.advantages is not None
    seen, taken = rows_of(batch.observations, batch.policy), rows_of(batch.actions, batch.policy)
    weights = rows_of(batch.advantages, batch.policy)
    if standardize:
        weights = (weights - weights.mean()) / (weights.std() + 1e-8)
    # grad mean A log pi is the surrogate's gradient at the policy that sampled, where ratios are 1
    parts = [slice(start, start + ROWS) for start in range(0, len(seen), ROWS)]
    sums = [(weights[part] * batch.policy(seen[part]).log_prob(taken[part])).sum() for part in parts]
    return torch.stack([flat_gradient(one / len(seen), parameters) for one in sums]).sum(0)


def _correlation(batch: Batch, after: RowPolicy) -> tuple[str, float, int] | None:
    """Return the correlation of advantages with how log-probabilities changed, and over how many pairs."""
    assert batch.observations is not None
    assert batch.actions is not None
    assert batch.advantages is not None
    if batch.log_probs is None:
        return None
    new = policy_log_probs(after, batch.observations, batch.actions).double().numpy()
    # an update that follows advantages raises log pi where A is high
    change, weights = new - batch.log_probs.reshape(-1), batch.advantages.reshape(-1).astype(np.float64)
    known = np.isfinite(change) & np.isfinite(weights)
    change, weights = change[known], weights[known]
    if change.std() <= 1e-9 or weights.std() <= 0:
        return None
    return "correlation of change and advantage", float(np.corrcoef(change, weights)[0, 1]), len(change)
