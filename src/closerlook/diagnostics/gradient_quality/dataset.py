"""From the answers of jobs to a labelled dataset, and from that to the summary that is printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from closerlook.agents.agent import Agent
from closerlook.diagnostics.gradient_quality.alternatives import Alternative, weightings
from closerlook.diagnostics.gradient_quality.verdicts import verdicts
from closerlook.estimation.blocks import Sums, total
from closerlook.estimation.pool import Pool, Size
from closerlook.estimation.statistics import Agreement, agreement, gradient_estimate
from closerlook.results.schema import validate
from closerlook.results.store import as_json

Answers = Sequence[Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class AgentResult:
    """What was found of one agent: how its estimates agree at each size, others of the same pairs, its trajectories."""

    agreements: list[Agreement]
    others: dict[str, list[Agreement]]
    trajectories: int
    mean_episode_return: float


def merge(answers: Answers, pool: Pool, others: Sequence[Alternative], *, normalize: bool) -> AgentResult:
    """Merge the answers of one agent's jobs, in the order of their streams."""
    trajectories, episodes, returns = (
        np.concatenate([answer[name] for answer in answers]).sum() for name in ("trajectories", "episodes", "returns")
    )
    places = {weighting: place for place, weighting in enumerate(weightings(others))}

    def agreements(place: int, *, normalize: bool) -> list[Agreement]:
        return [agreement(size_estimates(answers, size, place, normalize=normalize)) for size in pool.sizes]

    return AgentResult(
        agreements=agreements(0, normalize=normalize),
        others={one.name: agreements(places[one.weighting], normalize=one.normalize) for one in others},
        trajectories=int(trajectories),
        mean_episode_return=float(returns / episodes) if episodes else np.nan,
    )


def size_estimates(answers: Answers, size: Size, place: int, *, normalize: bool) -> np.ndarray:
    """Return the disjoint estimates of one size, by the weighting at a place: (count, D), float64."""
    name = f"first_{size.used}" if size.is_beginning else "streams"
    parts = [Sums.from_arrays(answer, name) for answer in answers if f"{name}.first" in answer]
    estimates = np.empty((size.count, parts[0].scores.shape[-1]))
    for i in range(size.count):
        scores, moments = total(parts, i * size.streams, size.streams)
        own = moments[[0, 1 + 2 * place, 2 + 2 * place]]
        estimates[i] = gradient_estimate(scores[[place, -1]], own, normalize=normalize)
    return estimates


def build_dataset(
    agents: Sequence[Agent], results: Sequence[AgentResult], pool: Pool, attributes: Mapping[str, Any]
) -> xr.Dataset:
    """Label everything that was found.

    Parameters
    ----------
    agents : sequence of Agent
        Who was measured.
    results : sequence of AgentResult
        What was found of each.
    pool : Pool
        What was sampled of each.
    attributes : mapping
        Of the dataset: ``environment``, ``advantages``, ``seed``.

    Returns
    -------
    xarray.Dataset
        Over (agent, size); over (size,) for one agent.
    """
    count = len(agents)
    table = {name: (("agent", "size"), values) for name, values in _by_size(results).items()}
    each = {
        "pairs": np.full(count, pool.pairs),
        "streams": np.full(count, pool.streams),
        "trajectories": np.array([result.trajectories for result in results]),
        "mean_episode_return": np.array([result.mean_episode_return for result in results]),
    }
    dataset = xr.Dataset(
        data_vars={
            "pairs_used": ("size", [size.used for size in pool.sizes]),
            "is_beginning": ("size", [size.is_beginning for size in pool.sizes]),
            "estimates": (("agent", "size"), np.tile([size.count for size in pool.sizes], (count, 1))),
            **table,
            **{name: (("agent", "alternative", "size"), values) for name, values in _of_others(results).items()},
            **{name: ("agent", values) for name, values in each.items()},
        },
        coords={
            "size": [size.asked for size in pool.sizes],
            "alternative": list(results[0].others),
            **_agent_coordinates(agents),
        },
        attrs={"diagnostic": "gradients", **attributes, **_agent_attributes(agents)},
    )
    return validate(dataset if count > 1 else dataset.isel(agent=0).drop_vars("agent"))


def _by_size(results: Sequence[AgentResult]) -> dict[str, np.ndarray]:
    rows = [result.agreements for result in results]
    return {
        "pairwise_cosine": np.array([[one.cosine.value for one in row] for row in rows]),
        "pairwise_cosine_low": np.array([[one.cosine.low for one in row] for row in rows]),
        "pairwise_cosine_high": np.array([[one.cosine.high for one in row] for row in rows]),
        "gradient_norm": np.array([[one.norm for one in row] for row in rows]),
        "zero_gradients": np.array([[one.zeros for one in row] for row in rows]),
    }


def _of_others(results: Sequence[AgentResult]) -> dict[str, np.ndarray]:
    """Return how the alternatives' estimates agree: (agent, alternative, size) each."""
    rows = [list(result.others.values()) for result in results]
    return {
        f"alternative_{name}": np.array([[[getattr(at.cosine, end) for at in own] for own in row] for row in rows])
        for name, end in (
            ("pairwise_cosine", "value"),
            ("pairwise_cosine_low", "low"),
            ("pairwise_cosine_high", "high"),
        )
    }


def _agent_coordinates(agents: Sequence[Agent]) -> dict[str, Any]:
    """Return who the agents are; -1 where an agent does not say."""
    iterations = [-1 if agent.iteration is None else agent.iteration for agent in agents]
    seeds = [-1 if agent.agent_seed is None else agent.agent_seed for agent in agents]
    numbers = np.arange(len(agents))
    return {"agent": numbers, "iteration": ("agent", iterations), "agent_seed": ("agent", seeds)}


def _agent_attributes(agents: Sequence[Agent]) -> dict[str, Any]:
    regime = agents[0].regime
    return {
        "algorithm": ", ".join(sorted({agent.algorithm or "unknown" for agent in agents})),
        "baseline": ", ".join(sorted({"critic" if agent.value is not None else "none" for agent in agents})),
        "batch_pairs": regime.batch_pairs,
        "stream_pairs": regime.n_steps,
    }


_SUMMARISED = (
    "pairs",
    "streams",
    "trajectories",
    "mean_episode_return",
    "pairs_used",
    "estimates",
    "pairwise_cosine",
    "pairwise_cosine_low",
    "pairwise_cosine_high",
    "gradient_norm",
    "zero_gradients",
)


def summary(dataset: xr.Dataset) -> dict[str, Any]:
    """Summarise a dataset of this diagnostic as JSON values.

    Returns
    -------
    dict
        Arrays along ``sizes``, under a leading agent axis where the dataset has one; NaN is None.
    """
    attributes = dataset.attrs
    return {
        "env": attributes["environment"],
        "algo": attributes["algorithm"],
        "iteration": _known(dataset["iteration"].values),
        "agent_seed": _known(dataset["agent_seed"].values),
        "advantages": attributes["advantages"],
        "batch_pairs": int(attributes["batch_pairs"]),
        "seed": int(attributes["seed"]),
        "sizes": as_json(dataset["size"].values),
        **{name: as_json(dataset[name].values) for name in _SUMMARISED},
        "alternatives": {
            name: {
                end: as_json(dataset[f"alternative_{end}"].sel(alternative=name).values)
                for end in ("pairwise_cosine", "pairwise_cosine_low", "pairwise_cosine_high")
            }
            for name in dataset["alternative"].values.tolist()
        },
        "verdicts": verdicts(dataset),
    }


def _known(values: np.ndarray) -> Any:
    return as_json(np.where(values < 0, np.nan, values)) if (values < 0).any() else as_json(values)
