"""The figure of trust regions as data."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from closerlook.diagnostics.trust_region.figure import MEASURES, drawn_agents
from closerlook.drawing.panels import Dash, Mark, Panel, Scale, Series
from closerlook.drawing.style import COLORS, QUIET, mean_with_interval, range_of_curves, ranges_without_outliers

ON: dict[str, tuple[str, Dash]] = {"batch": ("on its batch", "solid"), "heldout": ("on other pairs", "dash")}


def panels(dataset: xr.Dataset) -> list[Panel]:
    """Return, for each agent: how far its updates go, how they grow, what they predict and what they keep.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of `closerlook.trust_region`.
    """
    found = []
    for name, agent in drawn_agents(dataset):
        where = f", {name}" if name else ""
        growth = [_fractions(agent, where)] if "stage" not in agent.dims else [*_growth(agent, where)]
        found += [_divergences(agent, where), _model(agent, where), *growth, _improvements(agent, where)]
        found += [_lengths(agent, where)]
    return [panel for panel in found if any(np.isfinite(one.y).any() for one in panel.series)]


def _bound(agent: xr.Dataset) -> list[Mark]:
    bound = float(agent["kl_bound"])
    return [Mark(bound, "bound", "y")] if np.isfinite(bound) else []


def _divergences(agent: xr.Dataset, where: str) -> Panel:
    series = []
    for place, name in enumerate(MEASURES):
        values = agent[name].values
        shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        color = COLORS[1] if name == "quadratic_kl" else COLORS[0]
        series.append(Series("", place + np.linspace(-0.22, 0.22, len(shown)), shown, color=color, form="points"))
    x, y = Scale("", names=list(MEASURES.values())), Scale("KL(old || new), nats", log=True)
    return Panel(f"Divergence of each update{where}", x, y, series, _bound(agent))


def _model(agent: xr.Dataset, where: str) -> Panel:
    multiples = agent["multiple"].values
    series = [
        Series(words, multiples, *_over_updates(agent["multiple_change"], pairs, "mean_kl"), color=color, dash=dash)
        for (pairs, (words, dash)), color in zip(ON.items(), (COLORS[0], COLORS[3]), strict=True)
    ]
    model = float(agent["quadratic_kl"].mean()) * multiples**2
    series.append(Series("quadratic model", multiples, model, color=COLORS[1], dash="dot"))
    x, y = Scale("multiples of the step", log=True), Scale("mean KL, nats", log=True)
    return Panel(f"Divergence along the step{where}", x, y, series, _bound(agent))


def _over_updates(changes: xr.DataArray, pairs: str, change: str | None = None) -> tuple[np.ndarray, ...]:
    """Return the mean over updates of something that is known on whose pairs, with its interval."""
    rows = changes.sel({"pairs_of": pairs} | ({} if change is None else {"change": change})).values
    return mean_with_interval(np.where(np.isfinite(rows), rows, np.nan))


def _growth(agent: xr.Dataset, where: str) -> Iterator[Panel]:
    """Yield how PPO's update grows over its minibatches."""
    epochs, x = agent["stage"].values / agent.attrs["minibatches"], Scale("epochs")
    kinds: list[tuple[str, str, str | None]] = [
        ("Surrogate over the update", "rise of the surrogate", None),
        ("Divergence over the update", "mean KL, nats", "mean_kl"),
        ("Ratios over the update", "share of ratios outside", "clip_fraction"),
    ]
    for title, label, change in kinds:
        data = agent["stage_surrogate_rise" if change is None else "stage_change"]
        series = [
            Series(words, epochs, *_over_updates(data, pairs, change), color=color, dash=dash)
            for (pairs, (words, dash)), color in zip(ON.items(), (COLORS[0], COLORS[3]), strict=True)
        ]
        if change is None and "clip_null" in agent["change"]:
            null = agent["stage_change"].sel(pairs_of="heldout", change="clip_null").values.mean(axis=0)
            series.append(Series("on other pairs, by chance", epochs, null, color=QUIET, dash="dot"))
        yield Panel(f"{title}{where}", x, Scale(label), series)


def _fractions(agent: xr.Dataset, where: str) -> Panel:
    """Return how often the line search took which share of the full step."""
    taken = agent["step_fraction"].values
    shares, counts = np.unique(taken[np.isfinite(taken)], return_counts=True)
    x = Scale("share of the full step taken", names=[f"{share:g}" if share else "none" for share in shares])
    series = Series("", np.arange(len(shares)), counts.astype(float), form="points")
    return Panel(f"Line search{where}", x, Scale("updates"), [series])


def _improvements(agent: xr.Dataset, where: str) -> Panel:
    predicted = agent["surrogate_improvement"].values
    true = [agent[f"true_improvement{end}"].values for end in ("", "_low", "_high")]
    series = [Series("an update", predicted, *true, form="points")]
    if np.isfinite(predicted).any():
        reach = np.array([min(float(np.nanmin(predicted)), 0.0), float(np.nanmax(predicted))])
        series.append(Series("as predicted", reach, reach, color=QUIET, dash="dot", form="thin"))
    known = np.isfinite(predicted) & np.isfinite(true[0])
    labels, title = ("improvement the surrogate predicts", "true improvement"), f"Predicted and kept{where}"
    view = ranges_without_outliers(predicted[known], *(one[known] for one in true)) if known.any() else None
    if view is None:
        return Panel(title, Scale(labels[0]), Scale(labels[1]), series if np.isfinite(true[0]).any() else [])
    x, y = (Scale(label, range=own) for label, own in zip(labels, view[:2], strict=True))
    return Panel(title, x, y, series, note=f"Far from all others, {view[2]} of {len(predicted)} updates lie beyond.")


def _lengths(agent: xr.Dataset, where: str) -> Panel:
    gain = [agent[f"mean_multiple_gain{end}"].values for end in ("", "_low", "_high")]
    multiples, each = agent["multiple"].values, agent["multiple_gain"].values
    view = range_of_curves(each, *gain[1:])
    series = [Series("the mean", multiples, *gain)]
    series += [
        Series("" if at else "an update", multiples, one, color=QUIET, form="thin") for at, one in enumerate(each)
    ]
    x, y = Scale("multiples of the step", log=True), Scale("gain in true reward", range=view)
    note = "" if view is None else "The interval reaches beyond."
    return Panel(f"Length of the step{where}", x, y, series, note=note)
