"""Landscapes: does the surrogate point where the reward is.

Surrogate and true reward on planes and lines through an agent's parameters. Section 2.3 of Ilyas et al. (2020),
Figures 5, 6, 7 and 13 to 20.
"""

from closerlook.diagnostics.landscape.dataset import summary
from closerlook.diagnostics.landscape.measure import landscape
from closerlook.diagnostics.landscape.verdicts import verdicts

__all__ = ["landscape", "summary", "verdicts"]
