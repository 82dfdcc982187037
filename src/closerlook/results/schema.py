"""Every variable of every dataset: its dimensions, unit, definition and source.

The schema is written before the code: a diagnostic may store only what is defined here, and the documentation of
datasets is generated from it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import xarray as xr

SCHEMA_VERSION = 1
"""Raised whenever a definition changes; datasets carry it as the attribute ``schema_version``."""


@dataclass(frozen=True)
class Variable:
    """One variable of a dataset.

    Parameters
    ----------
    name : str
        Its name in datasets.
    dims : tuple of str
        Its dimensions in order; a leading ``"agent"`` is absent where one agent was measured.
    unit : str
        ``"1"`` for a pure number, ``"pairs"``, ``"reward"`` ...
    definition : str
        What it is, in one or two sentences that name its target and its states.
    source : str
        Where the definition comes from, for example ``"Ilyas et al. (2020), Figure 1"``.
    """

    name: str
    dims: tuple[str, ...]
    unit: str
    definition: str
    source: str = ""


SCHEMA: dict[str, Variable] = {}
"""All variables, by name."""


def define(variables: Iterable[Variable]) -> None:
    """Add variables to the schema.

    Raises
    ------
    ValueError
        Where a name is taken by another definition.
    """
    for variable in variables:
        if SCHEMA.setdefault(variable.name, variable) != variable:
            raise ValueError(f"{variable.name} is defined twice")


def validate(dataset: xr.Dataset) -> xr.Dataset:
    """Check a dataset against the schema, and label its variables from it.

    Returns
    -------
    xarray.Dataset
        The dataset, each variable with the attributes ``units``, ``long_name`` and ``source``.

    Raises
    ------
    ValueError
        Where a variable is not defined, or has other dimensions than its definition.
    """
    labelled = dataset.assign_attrs(schema_version=SCHEMA_VERSION)
    for name in map(str, dataset.data_vars):
        variable = SCHEMA.get(name)
        if variable is None:
            raise ValueError(f"{name} is not defined in the schema")
        dims = tuple(dim for dim in variable.dims if dim != "agent" or "agent" in dataset.dims)
        if dataset[name].dims != dims:
            raise ValueError(f"{name} has dimensions {dataset[name].dims}, its definition says {dims}")
        labelled[name] = labelled[name].assign_attrs(
            units=variable.unit, long_name=variable.definition, source=variable.source
        )
    return labelled


def describe() -> str:
    """Return the schema as a Markdown table."""
    rows = [
        f"| `{v.name}` | {', '.join(v.dims) or '-'} | {v.unit} | {v.definition} | {v.source} |" for v in SCHEMA.values()
    ]
    return "\n".join(["| variable | dimensions | unit | definition | source |", "|---|---|---|---|---|", *rows]) + "\n"


_SECTION_2_1 = "Ilyas et al. (2020), section 2.1"

define(
    [
        Variable(
            "pairs_used",
            ("size",),
            "pairs",
            "State-action pairs of one gradient estimate: the size asked for, rounded down to whole streams from one "
            "stream on.",
        ),
        Variable(
            "is_beginning",
            ("size",),
            "1",
            "Whether estimates of this size are the beginnings of streams, cut there: early states and an earlier "
            "bootstrap, another estimand than that of whole streams.",
        ),
        Variable(
            "estimates",
            ("agent", "size"),
            "1",
            "Estimates of this size, from disjoint sets of streams of the agent's pool.",
            _SECTION_2_1,
        ),
        Variable(
            "pairwise_cosine",
            ("agent", "size"),
            "1",
            "Mean cosine similarity of all pairs of disjoint estimates of the gradient of the surrogate "
            "mean(ratio * A) at the parameters that sampled the pairs; policy parameters include the log standard "
            "deviation. Estimates that are exactly zero are left out; NaN where fewer than two are left.",
            "Ilyas et al. (2020), Figures 1 and 9",
        ),
        Variable(
            "pairwise_cosine_low",
            ("agent", "size"),
            "1",
            "Lower end of the 95% interval of pairwise_cosine: delete-one-estimate jackknife of "
            "log(1 - cosine), Student's t; NaN with fewer than three estimates.",
            "Arvesen (1969)",
        ),
        Variable(
            "pairwise_cosine_high",
            ("agent", "size"),
            "1",
            "Upper end of the 95% interval of pairwise_cosine: delete-one-estimate jackknife of "
            "log(1 - cosine), Student's t; NaN with fewer than three estimates.",
            "Arvesen (1969)",
        ),
        Variable(
            "alternative_pairwise_cosine",
            ("agent", "alternative", "size"),
            "1",
            "pairwise_cosine of other estimates from the same pairs: raw (advantages as they are) or normalised, "
            "whichever the agent's own are not; lambda <x>: advantages by another lambda; zero baseline: discounted "
            "returns in place of advantages.",
            "Ilyas et al. (2020), Figure 4",
        ),
        Variable(
            "alternative_pairwise_cosine_low",
            ("agent", "alternative", "size"),
            "1",
            "Lower end of the 95% interval of alternative_pairwise_cosine, as of pairwise_cosine_low.",
            "Arvesen (1969)",
        ),
        Variable(
            "alternative_pairwise_cosine_high",
            ("agent", "alternative", "size"),
            "1",
            "Upper end of the 95% interval of alternative_pairwise_cosine, as of pairwise_cosine_high.",
            "Arvesen (1969)",
        ),
        Variable(
            "gradient_norm",
            ("agent", "size"),
            "1",
            "Mean Euclidean norm of the gradient estimates, in units of the (scaled) advantage, or of its standard "
            "deviation where advantages are normalised.",
        ),
        Variable(
            "zero_gradients",
            ("agent", "size"),
            "1",
            "Estimates that are exactly zero and have no direction, because their advantages are all zero, or all "
            "equal where they are normalised.",
        ),
        Variable("pairs", ("agent",), "pairs", "State-action pairs of the agent's pool."),
        Variable("streams", ("agent",), "1", "Streams of the pool: runs of one environment, as long as in training."),
        Variable(
            "trajectories",
            ("agent",),
            "1",
            "Trajectories, whole or in part, that the pool's pairs come from.",
            _SECTION_2_1,
        ),
        Variable(
            "mean_episode_return",
            ("agent",),
            "reward",
            "Undiscounted true return of the episodes that began in the pool's first 64 streams, summed, over their "
            "number. Those streams finish their last episode, beyond the pool's pairs, so that long ones count too; "
            "missing where one of them had to be given up.",
        ),
    ]
)
