"""Updates audited while agents are trained: how far each moved the policy, on its own batch, by every cheap measure."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from closerlook.agents.agent import Agent
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.rules import clip_of
from closerlook.algorithms.surrogate import SURROGATES
from closerlook.measurements.policy_change import CHANGES, ComparisonBatch
from closerlook.simulation.records import Rollout
from closerlook.training.callback import Callback
from closerlook.training.settings import TrainSettings

TRUST_AUDITED: Mapping[str, str] = {
    "audit_kl_p99": "99th percentile over the batch's states of KL(old || new), nats",
    "audit_mean_reverse_kl": "KL(new || old), mean over the states of the batch, nats",
    "audit_max_reverse_kl": "KL(new || old), largest over the states of the batch, nats",
    "audit_clip_fraction": "share of pairs whose ratio ended further from 1 than epsilon, 0.2 where nothing is clipped",
    "audit_quadratic_kl": "the quadratic model of the update's mean KL, by all states of the batch, nats",
    "audit_predicted_rise": "gradient of the surrogate, not clipped, times the step",
    "audit_surrogate_rise": "rise of the surrogate, not clipped, on the batch over the whole update",
    "audit_clipped_rise": "rise of the clipped surrogate on the batch over the whole update, advantages "
    "standardized over it",
}
"""Columns of the log, in words."""
_OF_CHANGE = {
    "audit_kl_p99": "kl_p99",
    "audit_mean_reverse_kl": "mean_reverse_kl",
    "audit_max_reverse_kl": "max_reverse_kl",
    "audit_clip_fraction": "clip_fraction",
}


def audit_updates(before: Agent, after: Agent, batch: Batch, settings: TrainSettings) -> dict[str, np.ndarray]:
    """Measure a population's whole update on the batch it was computed from; nothing is sampled.

    Parameters
    ----------
    before, after : Agent
        The population before and after the update, with the same statistics.
    batch : Batch
        What the update was computed from.
    settings : TrainSettings
        Of the run.

    Returns
    -------
    dict of str to ndarray, (P,)
        The columns `TRUST_AUDITED`. NaN where no KL is known, not finite where ratios overflow.
    """
    rows = []
    for number, (old, new) in enumerate(zip(before.unstack(), after.unstack(), strict=True)):
        own = batch.of_policies(slice(number, number + 1))
        rows.append(_audit(Agent.stack([old]), Agent.stack([new]), own, settings))
    return {name: np.array([row[name] for row in rows]) for name in TRUST_AUDITED}


def _audit(before: Agent, after: Agent, batch: Batch, settings: TrainSettings) -> dict[str, float]:
    """Measure the update of a population of one."""
    compared = ComparisonBatch.at(before, batch, clip_of(settings.update))
    end = compared.objective.start(after)
    step = end.double() - compared.start.double()
    changed, unchanged = compared.change(end), compared.change(compared.start)
    change = dict(zip(CHANGES, changed.change.tolist(), strict=True))
    rises = dict(zip(SURROGATES, (changed.surrogates - unchanged.surrogates).tolist(), strict=True))
    own = "normalized" if before.normalize_advantages else "plain"
    slopes = dict(zip(SURROGATES, compared.slopes(step), strict=False))
    return {
        **{name: change[measure] for name, measure in _OF_CHANGE.items()},
        "audit_quadratic_kl": compared.quadratic_kl(step) if bool(torch.isfinite(step).all()) else np.nan,
        "audit_predicted_rise": slopes[own],
        "audit_surrogate_rise": rises[own],
        "audit_clipped_rise": rises["clipped"],
    }


class TrustRegionAudit(Callback):
    """Measure what every update did to the policy, on its own batch; nothing is sampled.

    Divergences both ways, ratios, the quadratic model, the rise of the surrogate. Agents are the same as without.

    See Also
    --------
    closerlook.trust_region : the same of a trained agent, and more.

    Examples
    --------
    >>> import closerlook as cl
    >>> "audit_quadratic_kl" in cl.TrustRegionAudit().columns
    True
    """

    columns = TRUST_AUDITED

    def start(self, settings: TrainSettings, seeds: Sequence[int]) -> None:
        """Keep the settings of the update."""
        self._settings = settings

    def on_update(self, before: Agent, after: Agent, batch: Batch, rollout: Rollout) -> dict[str, np.ndarray]:
        """Measure one update."""
        return audit_updates(before, after, batch, self._settings)
