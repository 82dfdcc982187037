"""Gradient quality: how much independent estimates of the policy gradient agree, and at how many pairs.

One pool of streams is sampled for each agent. Workers answer with sums (`closerlook.measurements.stream_sums`), from
which every size's disjoint estimates follow; their mean pairwise cosine is Figure 1 of Ilyas et al. (2020).
"""

from closerlook.diagnostics.gradients.dataset import summary
from closerlook.diagnostics.gradients.measure import gradient_quality
from closerlook.diagnostics.gradients.request import Advantages
from closerlook.diagnostics.gradients.verdicts import verdicts

__all__ = ["Advantages", "gradient_quality", "summary", "verdicts"]
