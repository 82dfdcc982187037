"""Value prediction: how well a critic predicts returns, and what it is worth as a baseline.

A value V* is fitted to returns of other pairs of the same policy: what it cannot predict is noise, and what the agent's
critic does worse is the critic's. Section 2.2 of Ilyas et al. (2020), Figures 3, 4, 11 and 12.
"""

from closerlook.diagnostics.values.dataset import summary
from closerlook.diagnostics.values.measure import value_prediction
from closerlook.diagnostics.values.verdicts import verdicts

__all__ = ["summary", "value_prediction", "verdicts"]
