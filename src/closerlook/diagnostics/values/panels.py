"""The figure of value prediction as data."""

import numpy as np
import xarray as xr

from closerlook.diagnostics.values.figure import (
    BASELINES,
    ERRORS,
    LAMBDA_LINES,
    by_iteration,
    curve_of,
    over_agents,
)
from closerlook.drawing.panels import Mark, Panel, Scale, Series
from closerlook.drawing.style import COLORS, QUIET
from closerlook.results.naming import agent_name


def panels(dataset: xr.Dataset) -> list[Panel]:
    """Return, for each iteration: errors of the critic, its calibration, gradients by baseline and by lambda.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of `closerlook.value_prediction`.
    """
    agents = dataset if "agent" in dataset.dims else dataset.expand_dims("agent")
    found = []
    for iteration, group in by_iteration(agents).items():
        where = f", iteration {iteration}" if iteration is not None and iteration >= 0 else ""
        found += [_errors(group, where), _calibration(group, where), _baselines(group, where), _lambdas(group, where)]
    return [panel for panel in found if any(np.isfinite(one.y).any() for one in panel.series)]


def _errors(group: xr.Dataset, where: str) -> Panel:
    kind = "updated" if np.isfinite(group["mean_relative_error"].sel(critic="updated")).any() else "as_is"
    rows = {
        label: over_agents(group, name, {**place, **({"critic": kind} if "critic" in group[name].dims else {})})
        for label, (name, place) in ERRORS.items()
    }
    known = {label: row for label, row in rows.items() if np.isfinite(row[0])}
    values = np.array(list(known.values())).reshape(-1, 3).T
    series = Series("", np.arange(len(known)), *values, form="points")
    names = [label.replace(", ", ",\n") for label in known]
    return Panel(f"Critic's relative error{where}", Scale("", names=names), Scale("error", log=True), [series])


def _calibration(group: xr.Dataset, where: str) -> Panel:
    here = group.sel(target="returns")
    predicted, returns = here["calibration_predicted"].values, here["calibration_target"].values
    ends = [here[f"calibration_target_{end}"].values for end in ("low", "high")]
    alone = len(predicted) == 1
    series = [
        Series(
            "" if alone else agent_name(group.isel(agent=at), f"agent {at}"),
            predicted[at],
            returns[at],
            *([end[at] for end in ends] if alone else ()),
            color=COLORS[at % len(COLORS)],
        )
        for at in range(len(predicted))
    ]
    known = np.concatenate([predicted[np.isfinite(predicted)], returns[np.isfinite(returns)]])
    if known.size:
        reach = np.array([known.min(), known.max()])
        series.append(Series("as predicted", reach, reach, color=QUIET, dash="dash", form="thin"))
    x, y = Scale("value in a tenth of the pairs"), Scale("mean Monte Carlo return there")
    return Panel(f"Calibration of the critic{where}", x, y, series)


def _baselines(group: xr.Dataset, where: str) -> Panel:
    sizes, colors = group["size"].values, (COLORS[1], COLORS[0], COLORS[4], QUIET)
    series = [
        Series(label, sizes, *curve_of(group, "baseline_pairwise_cosine", {"baseline": name}), color=color)
        for color, (name, label) in zip(colors, BASELINES.items(), strict=True)
    ]
    batch = group.attrs.get("batch_pairs")
    marks = [Mark(float(batch), "training batch")] if batch else []
    x, y = Scale("state-action pairs in an estimate", log=True), Scale("mean pairwise cosine")
    return Panel(f"Gradients by baseline{where}", x, y, series, marks)


def _lambdas(group: xr.Dataset, where: str) -> Panel:
    lambdas, own = group["lambda"].values, group.attrs.get("gae_lambda")
    series = [
        Series(label, np.arange(len(lambdas)), *curve_of(group, "lambda_cosine", {"batches": times}), color=color)
        for color, (times, label) in zip((COLORS[2], COLORS[0]), LAMBDA_LINES.items(), strict=True)
    ]
    marks = [] if own is None else [Mark(float(np.abs(lambdas - own).argmin()), "agent's own")]
    x = Scale("lambda", names=[f"{one:g}" for one in lambdas])
    return Panel(f"Gradients by lambda{where}", x, Scale("cosine to the gradient of returns"), series, marks)
