"""Gradient quality: how much independent estimates of the policy gradient agree, and at how many pairs.

One pool of streams is sampled for each agent. Workers answer with sums (`closerlook.algorithms.stream_sums`), from
which every size's disjoint estimates follow; their mean pairwise cosine is Figure 1 of Ilyas et al. (2020).
"""

from closerlook.diagnostics.gradient_quality.dataset import summary
from closerlook.diagnostics.gradient_quality.measure import gradient_quality
from closerlook.diagnostics.gradient_quality.request import Advantages
from closerlook.diagnostics.gradient_quality.verdicts import verdicts

__all__ = ["Advantages", "gradient_quality", "summary", "verdicts"]
