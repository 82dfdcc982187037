"""Trust regions: does the step do what its constraint and its model promise.

An algorithm's own update from many independent batches: divergences, ratios, models and improvements, promised and
real. Appendix A.1 of Ilyas et al. (2020).
"""

from closerlook.diagnostics.trust_region.dataset import summary
from closerlook.diagnostics.trust_region.measure import trust_region
from closerlook.diagnostics.trust_region.verdicts import verdicts

__all__ = ["summary", "trust_region", "verdicts"]
