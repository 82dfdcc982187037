"""The limits of verdicts beside what the atlas shows: tables of four pages, gradients.md to trust-region.md."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from measured import heading, table

from closerlook.diagnostics.gradients.limits import Limits as GradientLimits
from closerlook.diagnostics.landscape.limits import Limits as LandscapeLimits
from closerlook.diagnostics.trust_region.limits import Limits as TrustLimits
from closerlook.diagnostics.values.limits import Limits as ValueLimits
from closerlook.diagnostics.values.verdicts import audited

GRADIENTS, VALUES, LANDSCAPE, TRUST = GradientLimits(), ValueLimits(), LandscapeLimits(), TrustLimits()

Column = tuple[str, str]
OVERFITTING = "unclipped surrogate's rise on other pairs over that on its own"


def trust_table(datasets: Mapping[Column, xr.Dataset]) -> str:
    """Lay out the limits of trust-region's verdicts, and the range over agents of every column."""
    limits = {
        "trust region": f"above {TRUST.beyond_bound:g}, interval and all",
        "clipping": f"above {TRUST.many_outside:g}, interval and all",
        "quadratic model": f"outside {TRUST.model_least:g} to {TRUST.model_most:g}",
        "line search": (
            f"below {TRUST.least_step_fraction:g}, or none taken in more than {TRUST.failed_searches:.0%} of updates"
        ),
        "natural gradient": f"below {TRUST.efficient:g}, interval and all",
        "overfitting": f"below {TRUST.heldout_fall:g}, interval and all",
        "exploration": f"below {TRUST.little_std:g}",
    }
    words = {
        "trust region": "mean KL on other states over the bound",
        "clipping": "share of ratios outside 1 ± epsilon",
        "quadratic model": "quadratic model over mean KL",
        "line search": "share of the full step taken",
        "natural gradient": "efficiency",
        "overfitting": OVERFITTING,
        "exploration": "smallest deviation of an action component over its range",
    }
    columns = {column: trust_numbers(dataset) for column, dataset in datasets.items()}
    rows = [
        [area, words[area], limit, *(spread(numbers[area]) for numbers in columns.values())]
        for area, limit in limits.items()
    ]
    return table(["area", "number", "watch", *map(heading, columns)], rows)


def trust_numbers(dataset: xr.Dataset) -> dict[str, np.ndarray]:
    """Return what the verdicts of each area compare with their limits, one number an agent."""

    def mean(name: str) -> np.ndarray:
        return np.asarray(dataset["average"].sel(quantity=name).values)

    judged = "cg_residual" in dataset and np.isfinite(dataset["cg_residual"].values).any()
    return {
        "trust region": mean("mean_kl_heldout") / dataset["kl_bound"].values,
        "clipping": np.where(np.isfinite(dataset["clip_epsilon"].values), mean("clip_fraction"), np.nan),
        "quadratic model": (dataset["quadratic_kl"].sum("repeat") / dataset["mean_kl_batch"].sum("repeat")).values,
        "line search": dataset["step_fraction"].mean("repeat").values,
        "natural gradient": mean("natural_efficiency") * (1.0 if judged else np.nan),
        "overfitting": dataset.get("mean_heldout_improvement_ratio", xr.DataArray(np.nan)).values.reshape(-1),
        "exploration": dataset["action_std_share"].values,
    }


def landscape_table(datasets: Mapping[tuple[str, Column], xr.Dataset]) -> str:
    """Lay out the limits of landscape's verdicts, and the range over agents of every dataset."""
    limits = {
        "overfitting": (OVERFITTING, f"below {LANDSCAPE.heldout_fall:g}, interval and all"),
        "step length": (
            "multiple beyond which the reward does not peak",
            f"at most {LANDSCAPE.too_long:g} times the step",
        ),
        "agreement": (
            "correlation over the plane",
            f"below {LANDSCAPE.opposed:g}, interval and all; a problem below 0, along the step too, if the step "
            "loses reward",
        ),
    }
    numbers = {key: landscape_numbers(dataset) for key, dataset in datasets.items()}
    rows = [
        [area, words, limit, *(spread(own[area]) for own in numbers.values())]
        for area, (words, limit) in limits.items()
    ]
    head = [f"{heading(column)}, {dataset.attrs['step_pairs']:,}" for (_, column), dataset in datasets.items()]
    return table(["area", "number", "watch", *head], rows)


def landscape_numbers(dataset: xr.Dataset) -> dict[str, np.ndarray]:
    """Return what the verdicts of each area compare with their limits, one number an agent."""
    return {
        "overfitting": dataset["heldout_improvement_ratio"].values,
        "step length": dataset["best_step_high"].values,
        "agreement": dataset["correlation"].sel(region="plane", pairs_of="batch").values,
    }


def gradient_table(datasets: Mapping[Column, xr.Dataset], steps: Mapping[Column, xr.Dataset]) -> str:
    """Lay out the limits of gradients' verdicts, and the range over trained agents of every column."""
    head = ["number", "limit", *map(heading, datasets)]
    noise = ["noise scale over the training batch, lower end", f"above {GRADIENTS.unusual_noise:g}: watch"]
    stuck = ["share of computed updates that do not move", f"above {GRADIENTS.stuck_updates:g}: problem"]
    for column, dataset in datasets.items():
        trained = dataset["iteration"].values > 0
        noise.append(spread((dataset["noise_scale_pairs_low"].values / dataset.attrs["batch_pairs"])[trained]))
        own = steps.get(column)
        stuck.append("-" if own is None else spread((own["zero_updates_by_size"] / own["update_batches"]).values))
    return table(head, [noise, stuck])


def value_table(datasets: Mapping[Column, xr.Dataset]) -> str:
    """Lay out the limits of values' verdicts, and the range over agents of every column."""
    rows = {
        "constant": (
            "variance with the critic over that with a constant, lower end",
            f"above {VALUES.harmful:g}: problem",
        ),
        "share": (
            "share of the fitted value's reduction, upper end",
            f"below {VALUES.useless:g}: problem; below {VALUES.good:g}: watch",
        ),
        "fitted value": (
            "variance with the critic over that with the fitted value, lower end",
            f"above {VALUES.costly:g}: watch",
        ),
        "own target": ("explained variance of the own target", f"at least {VALUES.fits_own_target:g}, and"),
        "returns": (
            "explained variance of returns over what is possible, upper end",
            f"below {VALUES.misses_returns:g}: watch",
        ),
        "lambda": ("gain by the best lambda, lower end", f"above {VALUES.lambda_gain:g}: watch"),
    }
    numbers = [value_numbers(dataset) for dataset in datasets.values()]
    cells = [[words, limit, *(spread(own[key]) for own in numbers)] for key, (words, limit) in rows.items()]
    return table(["number", "limit", *map(heading, datasets)], cells)


def value_numbers(dataset: xr.Dataset) -> dict[str, np.ndarray]:
    """Return what the verdicts compare with their limits, one number an agent."""
    critic = dataset.sel(critic=audited(dataset))
    returns = critic["explained_variance_high"].sel(target="returns") / dataset["fitted_explained_variance"]
    return {
        "constant": dataset["variance_ratio_low"].sel(baseline="critic").values,
        "share": dataset["delivered_reduction_high"].values,
        "fitted value": dataset["excess_variance_low"].values,
        "own target": critic["explained_variance"].sel(target="gae").values,
        "returns": returns.values,
        "lambda": dataset["lambda_gain_low"].sel(batches=1).values,
    }


def spread(values: np.ndarray) -> str:
    """Write the range of some numbers."""
    known = values[np.isfinite(values)]
    return f"{known.min():.2f} to {known.max():.2f}" if len(known) else "-"
