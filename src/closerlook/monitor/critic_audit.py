"""Critics audited while they are trained: after each update, on its batch and on pairs held out.

====== ============================
symbol meaning
====== ============================
P      agents trained together
S, T   held-out streams, their steps
====== ============================
"""

from collections.abc import Mapping, Sequence

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.algorithms.batch import Batch, evaluate_critic
from closerlook.algorithms.critic import critic_values
from closerlook.algorithms.minibatches import pairs_of
from closerlook.errors import InputError
from closerlook.measurements.true_returns import cut_off_returns, discounted_returns
from closerlook.measurements.value_shards import with_monte_carlo_returns
from closerlook.measurements.weightings import OWN, weigh
from closerlook.simulation.records import Rollout, Sampling
from closerlook.simulation.rollout import rollout as sample
from closerlook.statistics.value_errors import explained_variance, near_zero, relative_errors, released_errors
from closerlook.training.callback import Callback
from closerlook.training.settings import TrainSettings

PURPOSE = "critic audit"
AUDITED: Mapping[str, str] = {
    "audit_gae_mre_train": "mean relative error of the new critic to V_old + A, on the batch it was updated on",
    "audit_bootstrapped_returns_mre_train": "mean relative error of the new critic to the batch's discounted returns, "
    "bootstrapped as the agent does: not complete ones, which a training batch does not have",
    "audit_cut_off_returns_mre_train": "mean relative error of the new critic to the batch's returns that stop with "
    "zero at cuts and time limits, as in the released code",
    "audit_gae_as_released_train": "error to V_old + A on its batch, as in the released code: squared, the worse of "
    "clipped and not, over the target",
    "audit_gae_mre_heldout": "mean relative error of the new critic to V_old + A, on one further batch of the "
    "policy that sampled",
    "audit_returns_mre_heldout": "mean relative error of the new critic to Monte Carlo returns of a further batch, "
    "simulated on past cuts and time limits",
    "audit_cut_off_returns_mre_heldout": "mean relative error of the new critic to returns of a further batch "
    "that stop with zero at cuts and time limits, as in the released code",
    "audit_gae_as_released_heldout": "error to V_old + A on a further batch, as in the released code",
    "audit_explained_variance_returns_heldout": "1 - Var[target - V_new] / Var[target], target Monte Carlo returns",
}
"""Columns of the log, in words."""


def audit_critics(
    before: Agent, after: Agent, batch: Batch, rolled: Rollout, settings: TrainSettings, seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """Judge a population's critics after an update.

    Held-out pairs have streams of their own, named by the update's number, so that training is the same with an audit
    as without. Targets near zero count as 1% of their root mean square in divisors.

    Parameters
    ----------
    before, after : Agent
        The population before and after the update, with the same statistics.
    batch : Batch
        What the update was computed from.
    rolled : Rollout
        The sampling behind it.
    settings : TrainSettings
        Of the run.
    seeds : sequence of int, (P,)
        Each agent's own.

    Returns
    -------
    dict of str to ndarray, (P,)
        The columns `AUDITED`.

    References
    ----------
    Ilyas et al., 2020, Figures 3, 11 and 12.
    """
    asked = with_monte_carlo_returns(Sampling(settings.n_steps), settings.gamma)
    iteration = (after.iteration or 1) - 1
    streams = range(iteration * settings.n_envs, (iteration + 1) * settings.n_envs)
    # as many pairs again, by the policy before the update, which it has not seen
    held_out = sample(
        before, settings.spec, asked, seeds=seeds, purpose=PURPOSE, streams=streams, lanes=settings.n_envs
    )
    old, new = (
        critic_values(one, one.value_parameters, pairs_of(batch.observations)).numpy() for one in (before, after)
    )
    clip: float | None = dict(before.algorithm_settings).get("value_clip")
    rows = []
    for number, pair in enumerate(zip(before.unstack(), after.unstack(), strict=True)):
        one, updated = (Agent.stack([agent]) for agent in pair)
        # the paper's targets: V_old + A, and returns, bootstrapped as the agent does and as in the released code
        targets = {
            "gae": batch.gae_targets[number],
            "bootstrapped_returns": batch.returns[number],
            "cut_off_returns": cut_off_returns(one, rolled.of_policy(number)),
        }
        trained = {f"audit_{name}_mre_train": _error(new[number], y.numpy()) for name, y in targets.items()}
        trained["audit_gae_as_released_train"] = _as_released(new[number], targets["gae"].numpy(), old[number], clip)
        rows.append(trained | _held_out(one, updated, held_out.of_policy(number), clip))
    return {name: np.array([row[name] for row in rows]) for name in AUDITED}


def _held_out(before: Agent, after: Agent, sampled: Rollout, clip: float | None) -> dict[str, float]:
    """Judge the new critic of a population of one."""
    old = evaluate_critic(before, sampled, before.bootstrap)
    new = evaluate_critic(after, sampled, after.bootstrap).values[0].numpy()
    (own,) = weigh(before, sampled, {"critic": old}, [OWN])
    returns = discounted_returns(before, sampled, scaled=True)
    targets = {
        "gae": old.values[0] + own.whole,
        "returns": returns,
        "cut_off_returns": cut_off_returns(before, sampled),
    }
    errors = {f"audit_{name}_mre_heldout": _error(new, y.numpy()) for name, y in targets.items()}
    errors["audit_gae_as_released_heldout"] = _as_released(new, targets["gae"].numpy(), old.values[0].numpy(), clip)
    explained = explained_variance(new, returns.numpy()).value
    return {**errors, "audit_explained_variance_returns_heldout": explained}


def _error(values: np.ndarray, targets: np.ndarray) -> float:
    flat = np.asarray(targets, dtype=np.float64).reshape(-1)
    return float(relative_errors(values.reshape(-1), flat, near_zero(flat)).mean())


def _as_released(values: np.ndarray, targets: np.ndarray, old: np.ndarray, clip: float | None) -> float:
    flat = np.asarray(targets, dtype=np.float64).reshape(-1)
    return float(released_errors(values.reshape(-1), flat, old.reshape(-1), clip, near_zero(flat)).mean())


class CriticAudit(Callback):
    """Judge every update's critics, on its batch and on as many held-out pairs with Monte Carlo returns.

    About as much sampling again as training takes, and half. Agents are the same as without.

    See Also
    --------
    closerlook.value_prediction : the same of a trained agent, and more.
    closerlook.plot_critic_audit : its columns, drawn.

    Examples
    --------
    >>> import closerlook as cl
    >>> sorted(cl.CriticAudit().columns)[0]
    'audit_bootstrapped_returns_mre_train'
    """

    columns = AUDITED

    def check(self, settings: TrainSettings) -> None:
        """Refuse a run without critics, or whose Monte Carlo returns have no end."""
        if settings.baseline == "none":
            what = "there is no critic to audit"
            raise InputError(what, "leave out the audit of the critic, or baseline none")
        if settings.gamma >= 1:
            hint = "leave out the audit of the critic, or give a smaller gamma"
            raise InputError("Monte Carlo returns are endless with a gamma of 1, and a critic is audited by them", hint)

    def start(self, settings: TrainSettings, seeds: Sequence[int]) -> None:
        """Keep what held-out streams are made of."""
        self._settings, self._seeds = settings, seeds

    def on_update(self, before: Agent, after: Agent, batch: Batch, rollout: Rollout) -> dict[str, np.ndarray]:
        """Judge the critics after one update."""
        return audit_critics(before, after, batch, rollout, self._settings, self._seeds)
