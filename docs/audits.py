"""What the audits of the second atlas say, at every update of its training: a table and pictures for replication.md."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from measured import COLUMNS, heading, table
from pictures import Picture, figures_of

from closerlook.agents.loading import atlas_folder
from closerlook.drawing.critic_audit import plot_critic_audit
from closerlook.drawing.style import by_seed
from closerlook.results.training_log import read_training_log
from closerlook.statistics.estimates import mean_interval

Logs = Mapping[tuple[str, str], Mapping[str, Any]]
LATE = (150, 450)
"""Iterations over which each seed's numbers are averaged, both included: those of the rules."""
NUMBERS = {
    "audit_gae_mre_heldout": "critic's error to its own target, held-out pairs (Figures 3, 12)",
    "audit_gae_as_released_heldout": "the same by the released formula",
    "audit_returns_mre_heldout": "to Monte Carlo returns",
    "audit_cut_off_returns_mre_heldout": "to returns cut as released",
    "audit_gae_mre_train": "to its own target, pairs of the batch (Figure 11)",
    "audit_gae_as_released_train": "the same by the released formula",
    "audit_cut_off_returns_mre_train": "to returns cut as released",
    "audit_explained_variance_returns_heldout": "explained variance of Monte Carlo returns, held-out pairs",
    "mean_kl": "mean KL of the update",
    "audit_kl_p99": "its 99th percentile over states",
    "audit_max_reverse_kl": "largest reverse KL of a state",
    "audit_clip_fraction": "share of ratios outside 1 ± epsilon",
}
"""Columns of a training log, in the table's order."""
FIGURES = {"fig3": ("walker2d",), "fig11": ("hopper", "walker2d", "humanoid"), "fig12": ("hopper", "humanoid")}
"""Tasks of the paper's figures that audits make."""


def audited() -> Logs:
    """Read the logs of the columns that were trained and audited."""
    logs = {(task, kind): read_training_log(atlas_folder() / f"{task}-{kind}-v2") for task, kind in COLUMNS}
    return {column: log for column, log in logs.items() if log is not None}


def audit_table(logs: Logs) -> str:
    """Lay out means over seeds of what each seed's updates come to late in training, with 95% intervals."""
    if not logs:
        return "Nothing of it has been trained yet.\n"
    rows = [[words, *(late(log, name) for log in logs.values())] for name, words in NUMBERS.items()]
    return table(["", *map(heading, logs)], rows)


def late(log: Mapping[str, Any], name: str) -> str:
    """Write the mean over seeds of a column late in training, and its interval."""
    if name not in log:
        return "-"
    iterations, rows = by_seed(log, name)
    rows = rows[:, (iterations >= LATE[0]) & (iterations <= LATE[1])]
    known = np.isfinite(rows)
    if not known.any(axis=1).all():
        return "-"
    means = np.where(known, rows, 0.0).sum(axis=1) / known.sum(axis=1)
    found = mean_interval(means)
    return f"{found.value:.3g} ({found.low:.3g} to {found.high:.3g})"


def audit_pictures(logs: Logs) -> list[Picture]:
    """List the pictures of each column's critics along training."""
    return [
        Picture(
            f"critic-audit-{'-'.join(column)}", figures_of(column[0], FIGURES), partial(plot_critic_audit, log), 100
        )
        for column, log in logs.items()
    ]
