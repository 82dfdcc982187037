"""Advantages, returns and their standardization, recomputed from rewards, values and flags.

====== ==================================
symbol meaning
====== ==================================
T, N   steps, environments
====== ==================================
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from closerlook.monitor.batch import Batch
from closerlook.monitor.checks import Check, ok, unknown
from closerlook.monitor.suspects import EXPLANATIONS, Given, Suspect, suspects
from closerlook.statistics.recursions import (
    COARSE_STEPS,
    TOLERANCE,
    FloatArray,
    Recursion,
    Residuals,
    backward_sums,
    coarsest_step,
    fit_terms,
    following_rows,
    residuals,
)

BY_CHANCE = 1e-6
"""What is less likely than this by chance is no chance."""
STANDARDIZED = 0.02
"""Advantages whose mean is this near to 0, and whose deviation to 1, may have been standardized."""


@dataclass(frozen=True)
class Recomputed:
    """What a recomputation of advantages found.

    Parameters
    ----------
    check : Check
        What it says.
    raw : ndarray, (T, N), or None
        Advantages before any standardization; None where the stored ones are not explained.
    standardized : str
        ``"no"``, ``"batch"``, ``"environment"`` or ``"minibatch"``: over what the stored ones were.
    """

    check: Check
    raw: FloatArray | None
    standardized: str = "no"


NEEDED = {
    "advantages": "advantages",
    "values": "values",
    "gamma": "gamma",
    "gae_lambda": "gae_lambda",
    "ends": "flags of ends (terminated and truncated, done, or episode_starts)",
}


def check_advantages(batch: Batch) -> Recomputed:
    """Recompute advantages, and say which usual mistake explains a difference."""
    for name, words in NEEDED.items():
        if getattr(batch, name) is None:
            return Recomputed(unknown("advantages", words), batch.advantages)
    given = Given.of(batch)
    if not all(np.isfinite(array).all() for array in (given.advantages, given.rewards, given.values)):
        check = Check(
            "advantages",
            "unknown",
            "unknown",
            "not checked: rewards, values or advantages are not finite",
            "see the census for where",
        )
        return Recomputed(check, None)
    # first the recursion that the batch itself describes; suspects only where that does not hold
    found = residuals(given.advantages, given.right)
    if found.known == 0:
        return Recomputed(unknown("advantages", "last_values or truncation_values"), batch.advantages)
    hidden = _hidden_mistake(batch, given, found) if found.agree else None
    if hidden is not None:
        return Recomputed(_fault(hidden, found, hidden.residuals(TOLERANCE)), given.advantages)
    if found.agree:
        said = f"advantages are what rewards, values and flags give, at {found.known:,} steps"
        return Recomputed(
            ok("advantages", said, steps_checked=found.known, steps_unknown=_unknown(found)), given.advantages
        )
    return _explain(batch, given, found)


def _unknown(found: Residuals) -> int:
    return found.sizes.size - found.known


def _hidden_mistake(batch: Batch, given: Given, found: Residuals) -> Suspect | None:
    """Find a mistake at the steps that could not be compared, where advantages say themselves what was bootstrapped."""
    # where b_t is not known a mistake there cannot be seen as a residual, only as a recursion that holds there exactly
    blind = np.isnan(found.sizes)
    if not blind.any():
        return None
    for suspect in suspects(given):
        if suspect.name not in _SEEN_WHERE_BLIND:
            continue
        own = suspect.residuals(TOLERANCE)
        # a value of 0 by chance, or an environment without values at all, is no evidence
        telling = blind & ~np.isnan(own.sizes) & (np.abs(given.values) > 0)
        chance = _stay(batch) ** telling.sum() if suspect.name.startswith("own_value") else 0.0
        if own.agree and telling.sum() >= 2 and chance <= BY_CHANCE:
            return suspect
    return None


def _stay(batch: Batch) -> float:
    """Return how often the value of the next step is that of the step itself, by which no mistake could be told."""
    assert batch.values is not None
    assert batch.ends is not None
    same = (batch.values[1:] == batch.values[:-1])[~batch.ends[:-1]]
    return float(same.mean()) if same.size else 1.0


_SEEN_WHERE_BLIND = {
    "truncation_as_termination",
    "own_value_at_truncation",
    "next_episode_at_truncation",
    "truncation_ignored",
    "termination_ignored",
    "cut_as_termination",
    "own_value_at_cut",
}


def _explain(batch: Batch, given: Given, found: Residuals) -> Recomputed:
    """Find what explains advantages that differ: standardization, which is no fault, or a mistake, or both."""
    # from the harmless to the rare: standardized advantages, one usual mistake, other units, a mistake under
    # standardization, half precision
    right = _standardized(batch, given, given.right, given.advantages)
    if right is not None:
        return right
    for suspect in suspects(given):
        own = suspect.residuals(TOLERANCE)
        # a suspect may leave out a few rows at the edges of the batch, not more
        if own.agree and own.known >= found.known - 3 * given.rewards.shape[1]:
            return Recomputed(_fault(suspect, found, own), given.advantages)
    fitted = _other_units(given, found)
    if fitted is not None:
        return Recomputed(fitted, given.advantages)
    for suspect in suspects(given):
        if not suspect.outside:
            both = _standardized(batch, given, suspect.recursion, suspect.advantages)
            if both is not None:
                raw = residuals(both.raw, given.right) if both.raw is not None else found
                return Recomputed(_fault(suspect, raw, suspect.residuals(TOLERANCE)), both.raw, both.standardized)
    coarse = [s for a in (batch.advantages, batch.values, batch.rewards) if a is not None and (s := coarsest_step(a))]
    if coarse and residuals(given.advantages, given.right, COARSE_STEPS * max(coarse)).agree:
        return Recomputed(_named("half_precision", found, level="watch"), None)
    return Recomputed(_named("unexplained", found), None)


def _fault(suspect: Suspect, found: Residuals, own: Residuals) -> Check:
    changed = found if found.wrong else Residuals(np.where(np.isnan(found.sizes) & ~np.isnan(own.sizes), 2.0, np.nan))
    return _named(suspect.name, changed)


def _named(name: str, found: Residuals, level: str = "problem", **evidence: float) -> Check:
    says, hint = EXPLANATIONS[name]
    first = found.first or (None, None)
    return Check(
        check="advantages",
        level=level,  # type: ignore[arg-type]
        diagnosis=name,
        statement=f"{says}: advantages differ at {found.wrong:,} of {found.known:,} steps",
        advice=hint,
        evidence={"steps_that_differ": found.wrong, "steps_checked": found.known, **evidence},
        first_step=first[0],
        first_environment=first[1],
    )


def _standardized(batch: Batch, given: Given, recursion: Recursion, advantages: FloatArray) -> Recomputed | None:
    """See whether advantages are those of a recursion, standardized over the batch, environments or minibatches."""
    for over, groups in _groups(batch, advantages):
        raw = _undone(recursion, advantages, over, groups)
        if raw is not None:
            unit = {"batch": "the batch", "environment": "each environment", "minibatch": "each minibatch"}[over]
            known = int(np.isfinite(recursion.deltas).sum())
            said = f"advantages are what rewards, values and flags give, standardized over {unit}, at {known:,} steps"
            return Recomputed(ok("advantages", said, steps_checked=known, steps_unknown=raw.size - known), raw, over)
    return None


def _groups(batch: Batch, advantages: FloatArray) -> Iterator[tuple[str, np.ndarray]]:
    """List over what advantages may have been standardized, as numbers of groups (T, N)."""
    shape = advantages.shape
    yield "batch", np.zeros(shape, dtype=int)
    if shape[1] > 1:
        yield "environment", np.broadcast_to(np.arange(shape[1]), shape)
    if batch.minibatches is not None:
        yield "minibatch", batch.minibatches.astype(int)


def _is_standardized(numbers: FloatArray) -> bool:
    return abs(float(numbers.mean())) < STANDARDIZED and abs(float(numbers.std()) - 1) < 2 * STANDARDIZED


def _undone(recursion: Recursion, advantages: FloatArray, over: str, groups: np.ndarray) -> FloatArray | None:
    """Return advantages before they were standardized over groups, or None where that explains nothing."""
    members = [groups == group for group in np.unique(groups)]
    if not all(_is_standardized(advantages[own]) for own in members if own.sum() > 1):
        return None
    if over == "minibatch":
        return _undone_in_minibatches(recursion, advantages, members)
    raw = np.empty_like(advantages)
    for columns in [slice(None)] if over == "batch" else [slice(i, i + 1) for i in range(advantages.shape[1])]:
        carried = recursion.trace_decay * recursion.traces[:, columns]
        own = advantages[:, columns]
        # with A = (A_raw - mean) / std: A_t - d_t A_{t+1} = delta_t / std - (1 - d_t) mean / std
        carried[-1] = 0.0
        target = own - carried * following_rows(own, 0.0)
        weights = fit_terms(target, [recursion.deltas[:, columns], 1.0 - carried])
        if weights is None or weights[0] <= 0:
            return None
        raw[:, columns] = (own - weights[1]) / weights[0]
    return raw


def _undone_in_minibatches(
    recursion: Recursion, advantages: FloatArray, members: list[np.ndarray]
) -> FloatArray | None:
    # minibatches mix steps, so that no local recursion holds: the advantages themselves are computed and compared
    raw = backward_sums(recursion.deltas, recursion.trace_decay * recursion.traces)
    for own in members:
        weights = fit_terms(advantages[own], [raw[own], np.ones(int(own.sum()))])
        if weights is None or weights[0] <= 0:
            return None
    return raw


def _other_units(given: Given, found: Residuals) -> Check | None:
    """See whether rewards or values are in other units than advantages, or another gamma and lambda were used."""
    right = given.right
    carried = right.traces * following_rows(given.advantages, 0.0)
    carried[-1] = 0.0
    # A_t - d_t A_{t+1} = r_t + gamma b_t - V_t is linear in r and in (gamma b - V): their factors are fitted
    target = given.advantages - right.trace_decay * carried
    values = right.gamma * right.following - right.values
    # A_t - r_t + V_t = gamma' b_t + gamma' lambda' m_t A_{t+1}: the weights are another gamma, and gamma times lambda
    discounts = fit_terms(given.advantages - right.rewards + right.values, [right.following, carried])
    if discounts is not None and 0 <= discounts[1] <= discounts[0] * (1 + 1e-6) <= 1.0001:
        gamma, gae_lambda = discounts[0], discounts[1] / discounts[0]
        return _named("other_discount", found, gamma=float(gamma), gae_lambda=float(gae_lambda))
    # values in other units may have another zero too: V = a V' + c adds c (gamma - 1)
    constant = right.gamma * (right.following != 0) - 1.0
    for terms in ([values, constant], [values]):
        weights = fit_terms(target - right.rewards, terms)
        if weights is not None and weights[0] > 0:
            return _named("values_in_other_units", found, factor=float(weights[0]))
    weights = fit_terms(target - values, [right.rewards])
    if weights is not None and weights[0] > 0:
        return _named("rewards_in_other_units", found, factor=float(weights[0]))
    return None


def check_returns(batch: Batch, recomputed: Recomputed) -> Check:
    """Say what stored returns are: lambda-returns or discounted returns, of raw or of standardized advantages.

    Parameters
    ----------
    batch : Batch
        Whose returns.
    recomputed : Recomputed
        What the check of advantages found.
    """
    for name, words in {**NEEDED, "returns": "returns"}.items():
        if getattr(batch, name) is None:
            return unknown("returns", words)
    if recomputed.raw is None:
        return unknown("returns", "advantages that can be explained")
    assert batch.returns is not None
    given = Given.of(batch)
    returns, raw = batch.returns.astype(np.float64), recomputed.raw
    if not np.isfinite(returns).all():
        return unknown("returns", "returns that are finite")
    for name, kind in _kinds_of_returns(given, raw):
        if _same(returns, kind):
            return ok("returns", f"returns are {name}", steps_checked=int(np.isfinite(kind).sum()))
    for name, kind in _kinds_of_returns(given, raw):
        weights = fit_terms(returns, [kind, np.ones_like(kind)])
        if weights is not None and weights[0] > 0:
            said = f"returns are {name} in other units: {1 / weights[0]:.4g} of theirs"
            return ok("returns", said, factor=float(weights[0]), offset=float(weights[1]))
    return _wrong_returns(given, returns, raw, recomputed.standardized != "no")


def _kinds_of_returns(given: Given, raw: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    # y = A + V; or discounted returns, with and without what follows a truncation or cut
    yield "lambda-returns (advantages and values)", raw + given.values
    yield "discounted returns, bootstrapped at truncations and cuts", given.discounted_returns(bootstrapped=True)
    yield "discounted returns that stop at truncations and cuts", given.discounted_returns(bootstrapped=False)


def _same(returns: FloatArray, kind: FloatArray) -> bool:
    known = np.isfinite(kind)
    # a tenth of the root mean square keeps numbers near zero from demanding more precision than their neighbors have
    scale = np.abs(returns) + np.abs(kind) + 0.1 * np.sqrt(np.square(returns).mean())
    return bool(known.any() and (np.abs(returns - kind)[known] <= 5 * TOLERANCE * scale[known]).all())


def _wrong_returns(given: Given, returns: FloatArray, raw: FloatArray, standardized: bool) -> Check:
    wanted = raw + given.values
    differs = np.abs(returns - wanted) > 5 * TOLERANCE * (np.abs(returns) + np.abs(wanted) + 0.1 * wanted.std())
    known = np.isfinite(wanted)
    places = np.argwhere(differs & known)
    name, says, hint = (
        "unexplained",
        "returns are not the sum of advantages and values",
        "compute returns = advantages + values",
    )
    # one row too early, or too late
    lagging = [np.roll(wanted, shift, axis=0) for shift in (1, -1)]
    if _same(returns, given.advantages):
        name, says = "advantages_in_place_of_returns", "the values are not added: returns are the advantages"
    elif standardized and _same(returns, given.advantages + given.values):
        name = "returns_of_normalized_advantages"
        says, hint = (
            "values were added to advantages already standardized",
            "standardize advantages after returns are made",
        )
    elif any(_same(returns[1:-1], other[1:-1]) for other in lagging):
        name, says, hint = (
            "returns_shifted",
            "the returns are those of a neighboring step",
            "store them in their own row",
        )
    first = places[0] if len(places) else (None, None)
    return Check(
        check="returns",
        level="problem",
        diagnosis=name,
        statement=f"{says}: they differ at {len(places):,} of {int(known.sum()):,} steps",
        advice=hint,
        evidence={"steps_that_differ": len(places), "steps_checked": int(known.sum())},
        first_step=None if first[0] is None else int(first[0]),
        first_environment=None if first[1] is None else int(first[1]),
    )


def check_normalization(batch: Batch, recomputed: Recomputed) -> Check:
    """Say how often, and over what, the advantages of the update are standardized.

    Parameters
    ----------
    batch : Batch
        Whose advantages.
    recomputed : Recomputed
        What the check of advantages found.
    """
    if batch.advantages is None or recomputed.raw is None:
        return unknown("normalization", "advantages that can be explained")
    used = _used(batch)
    stored, declared = recomputed.standardized, batch.normalize_advantages
    if stored == "no" and used is None:
        said = f", and the update standardizes them per {declared}" if declared in {"batch", "minibatch"} else ""
        return ok("normalization", f"stored advantages are not standardized{said}")
    return _normalization_fault(stored, used, declared) or ok(
        "normalization", f"advantages are standardized once, over the {stored if stored != 'no' else used}"
    )


def _normalization_fault(stored: str, used: str | None, declared: str | None) -> Check | None:
    """Say what is wrong with advantages standardized over this when stored and over that by the update."""
    again = used if used in {"batch", "minibatch"} else declared
    if used == "unexplained":
        name, level, hint = "unexplained", "problem", "compare the two"
        says = "the advantages that the loss saw are not the stored ones standardized"
    elif stored == "environment":
        name, level, hint = "normalized_per_environment", "watch", "standardize over the batch"
        says = "advantages are standardized within each environment, so that none does better than another"
    elif stored != "no" and again in {"batch", "minibatch"}:
        name, level, hint = "normalized_twice", "watch", "leave one of the two out"
        says = f"advantages are standardized over the {stored}, and again over the {again} by the update"
    elif used is not None and declared is not None and used != declared:
        name, level, hint = "normalized_otherwise", "problem", "check the flag that switches it"
        says = f"the update is said to standardize advantages by {declared}, and does by {used}"
    else:
        return None
    return Check("normalization", level, name, says, hint)  # type: ignore[arg-type]


def _used(batch: Batch) -> str | None:
    """Say how the advantages that the loss saw follow from those stored; None where they are not known."""
    if batch.used_advantages is None or batch.advantages is None:
        return None
    used, stored = batch.used_advantages.astype(np.float64), batch.advantages.astype(np.float64)
    known = np.isfinite(used)
    if _same(used[known], stored[known]):
        return "none"
    for over, groups in _groups(batch, used):
        members = [(groups == group) & known for group in np.unique(groups)]
        # an affine map is fitted exactly to any two numbers: groups have to be larger for it to say something
        members = [own for own in members if own.sum() > 8]
        weights = [fit_terms(used[own], [stored[own], np.ones(int(own.sum()))]) for own in members]
        if members and all(one is not None and one[0] > 0 for one in weights):
            return over
    return "unexplained"
