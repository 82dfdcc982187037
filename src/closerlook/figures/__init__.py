"""Figures, drawn from datasets alone.

Each ``plot_*`` function draws one figure of a diagnostic and returns its matplotlib axes, so that anything can be
changed afterwards.
"""

from closerlook.figures.budgets import plot_budgets
from closerlook.figures.critic_audit import plot_critic_audit
from closerlook.figures.drawing import save_figure
from closerlook.figures.gradient_quality import plot_gradient_quality
from closerlook.figures.landscape import plot_landscape
from closerlook.figures.training import plot_training
from closerlook.figures.trust_region import plot_trust_region
from closerlook.figures.value_prediction import plot_value_prediction

__all__ = [
    "plot_budgets",
    "plot_critic_audit",
    "plot_gradient_quality",
    "plot_landscape",
    "plot_training",
    "plot_trust_region",
    "plot_value_prediction",
    "save_figure",
]
