"""The figure of gradient quality as data."""

import numpy as np
import xarray as xr

from closerlook.diagnostics.gradients.figure import (
    PAIRWISE,
    STEPS,
    TRUE,
    Quantity,
    agent_labels,
    by_iteration,
    hidden_agents,
    stream_pairs,
    with_agent_axis,
)
from closerlook.drawing.panels import Mark, Panel, Scale, Series
from closerlook.drawing.style import COLORS, INK, MAX_LABELED, QUIET, mean_of_all

WORDS = {
    PAIRWISE: "Cosine between two estimates",
    TRUE: "Cosine to the true gradient",
    STEPS[0]: "Cosine between two updates",
    STEPS[1]: "Cosine of updates to the true gradient",
}


def panels(dataset: xr.Dataset) -> list[Panel]:
    """Return a panel for each quantity and iteration.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of `closerlook.gradient_quality`.
    """
    groups = by_iteration(with_agent_axis(dataset))
    return [
        _panel(group, quantity, f", iteration {iteration}" if iteration is not None and iteration >= 0 else "")
        for quantity in (PAIRWISE, TRUE, *STEPS)
        for iteration, group in groups.items()
        if quantity.name in group and np.isfinite(group[quantity.name]).any()
    ]


def _panel(group: xr.Dataset, quantity: Quantity, where: str) -> Panel:
    sizes, cosines = group[quantity.dim].values, group[quantity.name].values
    if len(cosines) <= MAX_LABELED:
        lows, highs = (group[f"{quantity.name}_{end}"].values for end in ("low", "high"))
        rows = zip(agent_labels(group), cosines, lows, highs, COLORS, strict=False)
        series = [Series(label, sizes, row, low, high, color=color) for label, row, low, high, color in rows]
    else:
        series = [Series("", sizes, row, color=QUIET, form="thin") for row in cosines]
        label = f"mean of {len(cosines)} agents, interval over agents"
        series.append(Series(label, sizes, *mean_of_all(cosines)))
    if quantity.predicted in group:
        predicted = mean_of_all(group[quantity.predicted].values)[0]
        if np.isfinite(predicted).any():
            series.append(
                Series("predicted from the noise scale", sizes, predicted, color=INK, dash="dot", form="thin")
            )
    batch, stream = group.attrs.get("batch_pairs"), stream_pairs(group)
    notes = [f"Estimates of less than one stream of {stream:,} pairs are of early states only."]
    notes = notes if (sizes < stream).any() else []
    if len(cosines) > MAX_LABELED and (known := hidden_agents(cosines)):
        notes.append(f"There is no mean where noise hides the numbers of some agents: {known}.")
    return Panel(
        f"{WORDS[quantity]}{where}",
        Scale("state-action pairs", log=True),
        Scale("mean cosine"),
        series,
        [Mark(float(batch), "training batch")] if batch else [],
        " ".join(notes),
    )
