"""A batch to look at other policies with: how far they are from the one that sampled it, by every measure.

====== ==============================
symbol meaning
====== ==============================
D      policy parameters, flattened
====== ==============================
"""

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.objective import Objective
from closerlook.measurements.natural_comparison import batch_fisher
from closerlook.measurements.policy_change import PolicyChange, policy_change
from closerlook.nn.curvature import dot, quadratic_kl


@dataclass(frozen=True)
class Look:
    """A batch of pairs to look at policies with.

    Parameters
    ----------
    plain, normalised, objective : Objective
        Its surrogate: of advantages as they are, standardised, and as the agent's algorithm has them.
    start : Tensor, (1, D)
        Flat parameters of the policy that sampled it.
    clip : float
        Epsilon.
    standardize : bool
        Whether the agent's algorithm standardises advantages.
    """

    plain: Objective
    normalised: Objective
    objective: Objective
    start: Tensor
    clip: float
    standardize: bool

    @classmethod
    def at(cls, agents: Agent, batch: Batch, clip: float) -> "Look":
        """Look at a batch that a population of one sampled."""
        both = {
            normalize: Objective.of(replace(agents, normalize_advantages=normalize), batch)
            for normalize in (False, True)
        }
        own = both[agents.normalize_advantages]
        return cls(both[False], both[True], own, own.start(agents), clip, agents.normalize_advantages)

    def change(self, vector: Tensor) -> PolicyChange:
        """Compare the policy with flat parameters (1, D)."""
        objectives = (self.plain, self.normalised)
        return policy_change(*objectives, self.start, vector, self.clip, standardize=self.standardize)

    def slopes(self, displacement: Tensor) -> list[float]:
        """Return a step (1, D) times the gradients of the plain and the normalised surrogate."""
        gradients = (one.gradient(self.start)[1] for one in (self.plain, self.normalised))
        return [float(dot(gradient, displacement)) for gradient in gradients]

    def quadratic_kl(self, displacement: Tensor) -> float:
        """Return the quadratic model of the mean KL after a step (1, D); NaN where no KL is known."""
        product = batch_fisher(self.objective, self.start)
        return np.nan if product is None else float(quadratic_kl(product, displacement))
