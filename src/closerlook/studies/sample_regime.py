"""Sample regimes: PPO trained with many pairs an iteration or few, at many learning rates or one.

Figure 3 of an earlier version of the paper (OpenReview): the best rate is higher where samples are few, and larger
batches peak, then deteriorate. Beside it, how well gradient estimates agree in each regime.

====== ==================================
symbol meaning
====== ==================================
B      pairs of an iteration
L      learning rates
S      seeds
W      windows of the steps of training
====== ==================================
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from closerlook.agents.files import delete_agent
from closerlook.agents.loading import checkpoints_of, find_agents
from closerlook.diagnostics.gradients import gradient_quality
from closerlook.errors import InputError, NonFiniteError
from closerlook.execution import Progress
from closerlook.results.schema import validate
from closerlook.results.store import RunFolder, as_json
from closerlook.simulation.engine import describe_environment
from closerlook.statistics.estimates import Interval, mean_interval, plain_jackknife
from closerlook.studies.regime_variables import VARIABLES
from closerlook.training import TrainSettings, train

WINDOWS = 20
"""Windows of a learning curve, at most."""
MEANS = ("regime_final", "regime_peak", "regime_decline", "regime_cosine")
"""Variables whose mean over seeds has an interval."""
WITHOUT = ("regime_peak_without", "regime_decline_without")
"""The means without each seed, of the variables whose seeds choose for one another."""


@dataclass(frozen=True)
class Regimes:
    """What is trained.

    Parameters
    ----------
    environment : str
        A task of the paper, by name or Gymnasium id, or any other id: PPO's Table 1 for the task, else its defaults.
    batches : tuple of int
        Pairs of an iteration: whole streams of the preset's length, or one shorter one.
    learning_rates : tuple of float
        Of the policy, at the first iteration.
    seeds : int
        Agents of each setting.
    steps : int
        Environment steps of each agent.
    estimates : int
        Gradient estimates whose agreement is measured half way; 0 for none.
    seed : int
        Root seed.
    """

    environment: str
    batches: tuple[int, ...]
    learning_rates: tuple[float, ...]
    seeds: int = 4
    steps: int = 1_000_000
    estimates: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        if not self.batches or not self.learning_rates:
            raise InputError("a study of sample regimes needs batches and learning rates", "give one of each at least")
        wrong = [rate for rate in self.learning_rates if not 0 < rate < math.inf]
        if wrong:
            raise InputError(f"learning rates must be positive and finite (got {wrong[0]})", "give others")
        if len(set(self.batches)) < len(self.batches) or len(set(self.learning_rates)) < len(self.learning_rates):
            raise InputError("a batch or a learning rate is given twice", "give each once")
        if min(self.batches) < 2:
            raise InputError(f"batches must be at least 2 pairs (got {min(self.batches)})", "give 2 or more")
        if max(self.batches) > self.steps:
            hint = f"give {max(self.batches)} steps or more, or smaller batches"
            raise InputError(f"steps must be at least the largest batch, {max(self.batches)} (got {self.steps})", hint)
        if self.estimates == 1 or self.estimates < 0:
            raise InputError(f"estimates must be 0, or at least 2 (got {self.estimates})", "give 0, or 2 or more")

    def settings(self, batch: int, rate: float) -> TrainSettings:
        """Return the settings of one regime.

        Parameters
        ----------
        batch : int
            Pairs of an iteration.
        rate : float
            The policy's learning rate.

        Raises
        ------
        InputError
            Where a batch longer than a stream is no whole number of streams.
        """
        base = preset_of(self.environment)
        shape: dict[str, Any] = {"n_envs": 1, "n_steps": batch}
        if batch >= base.n_steps:
            if batch % base.n_steps:
                raise InputError(
                    f"batches must be whole streams of {base.n_steps} pairs (got {batch})", "give multiples"
                )
            shape = {"n_envs": batch // base.n_steps, "n_steps": base.n_steps}
        # gradients are measured half way, where the paper's figure has neither the beginning nor the end
        half = max(self.steps // batch // 2, 1)
        changes: dict[str, Any] = {"seeds": self.seeds, "steps": self.steps, "seed": self.seed, "checkpoints": (half,)}
        return replace(base, ppo=replace(base.ppo, policy_learning_rate=rate), **changes, **shape)

    def each(self) -> Iterator[tuple[int, float]]:
        """Yield every batch with every learning rate."""
        yield from ((batch, rate) for batch in self.batches for rate in self.learning_rates)

    def require_possible(self) -> None:
        """Check every setting and the environment, before anything is trained.

        Raises
        ------
        InputError
            Where the environment is unknown, or a setting means nothing.
        """
        for setting in self.each():
            settings = self.settings(*setting).resolved()
        describe_environment(settings.spec)

    @property
    def short(self) -> tuple[int, ...]:
        """Batches that are one stream shorter than the preset's, begun anew each iteration: no longer episode ends."""
        length = preset_of(self.environment).n_steps
        return tuple(batch for batch in self.batches if batch < length)

    @property
    def windows(self) -> int:
        """Windows of a learning curve: no more than iterations of the largest batch, so that none is empty of them."""
        return min(WINDOWS, self.steps // max(self.batches))

    @property
    def pairs(self) -> int:
        """Pairs sampled in all."""
        trained = len(self.batches) * len(self.learning_rates) * self.seeds * self.steps
        return trained + len(self.learning_rates) * self.seeds * self.estimates * sum(self.batches)


def preset_of(environment: str) -> TrainSettings:
    """Return PPO's settings of Table 1 for a task of the paper, else the defaults."""
    try:
        return TrainSettings.of_preset("paper", environment, "ppo")
    except InputError:
        return TrainSettings(environment=environment)


def sample_regime(
    regimes: Regimes,
    *,
    out: str | Path,
    workers: int | None = None,
    resume: bool = True,
    make_progress: Callable[[str, int], Progress] | None = None,
) -> xr.Dataset:
    """Train every regime, and measure gradient estimates half way through each.

    Parameters
    ----------
    regimes : Regimes
        Which ones.
    out : str or Path
        Folder for the runs, their measurements, and ``sample-regime.nc`` and ``.json``; the same call goes on from it.
    workers : int, optional
        Worker processes, default one per core. No number depends on it.
    resume : bool
        Whether to go on from what the folder holds of this study; else all is computed again.
    make_progress : callable, optional
        Makes whoever is told the progress of one run, from what it is called and the streams it trains together;
        0 where it measures.

    Returns
    -------
    xarray.Dataset
        `closerlook.results.schema` defines each variable.

    Raises
    ------
    InputError
        Where a setting means nothing, or the folder holds another study.
        A setting whose training is not finite is NaN and counted, and the others go on.
    """
    everything = {setting: regimes.settings(*setting).resolved() for setting in regimes.each()}
    with RunFolder(out).open_for("sample-regime", as_json(asdict(regimes)), resume=resume) as folder:
        if not resume:
            _forget(folder.path)
        folder.begin()
        found = []
        for number, ((batch, rate), settings) in enumerate(everything.items(), start=1):
            name = f"{number} of {len(everything)}: {batch:,} pairs at {rate:g}"
            run = folder.path / "runs" / f"{batch}-{rate!r}"
            measured = folder.path / "gradients" / run.name
            found.append(_one_regime(settings, regimes, (run, measured), workers, (name, make_progress)))
        dataset = build_dataset(regimes, found)
        folder.write_dataset("sample-regime.nc", dataset)
        folder.write_json("sample-regime.json", summary(dataset))
        folder.finish(regimes.pairs)
    return dataset


def _forget(study: Path) -> None:
    """Forget a study's runs, their agents and their measurements, and nothing of another kind.

    Raises
    ------
    InputError
        Where one of the folders holds a run of another kind.
    """
    inner = [(run, "train") for run in study.glob("runs/*")] + [(run, "gradients") for run in study.glob("gradients/*")]
    for folder, kind in inner:
        RunFolder(folder).require_same(kind)
    for folder, _ in inner:
        RunFolder(folder).forget()
        for agent in checkpoints_of(folder).values():
            delete_agent(agent)


def _one_regime(
    settings: TrainSettings,
    regimes: Regimes,
    folders: tuple[Path, Path],
    workers: int | None,
    reporting: tuple[str, Callable[[str, int], Progress] | None],
) -> dict[str, np.ndarray]:
    """Train one regime and measure its gradients; what is not finite on the way leaves the rest NaN."""
    (run, measured), (name, make_progress) = folders, reporting
    found = _nothing(regimes)
    progress = None if make_progress is None else make_progress(name, settings.seeds * settings.n_envs)
    try:
        log = train(settings, out=run, workers=workers, progress=progress).log
        found |= rewards_of(log, regimes)
        progress = None if make_progress is None else make_progress(f"gradients of {name}", 0)
        found["regime_cosine"] = _cosines(
            run, settings, regimes, {"out": measured, "workers": workers, "progress": progress}
        )
    except NonFiniteError as error:
        found["regime_failed"] = np.array(1)
        if progress is not None:
            progress.note(f"stopped: {error}")
    return found


def _nothing(regimes: Regimes) -> dict[str, np.ndarray]:
    """Return a regime of which nothing is known."""
    each = {name: np.full(regimes.seeds, np.nan) for name in (*MEANS, *WITHOUT)}
    return {"regime_reward": np.full((regimes.seeds, regimes.windows), np.nan), **each, "regime_failed": np.array(0)}


def _cosines(run: Path, settings: TrainSettings, regimes: Regimes, how: Mapping[str, Any]) -> np.ndarray:
    """Return the pairwise cosine of each seed's gradient estimates of one iteration's pairs, half way: (S,)."""
    if regimes.estimates == 0:
        return np.full(regimes.seeds, np.nan)
    agents = find_agents(str(run), iteration=settings.checkpoints[0])
    batch = settings.regime.batch_pairs
    pairs = batch * regimes.estimates
    options: dict[str, Any] = {"pairs": pairs, "estimates": regimes.estimates, "sizes": [batch], "seed": regimes.seed}
    dataset = gradient_quality(agents, settings.spec, **options, **how)
    return np.atleast_1d(dataset["pairwise_cosine"].sel(size=batch).values)


def rewards_of(log: Mapping[str, np.ndarray], regimes: Regimes) -> dict[str, np.ndarray]:
    """Cut the learning curves of one regime into windows.

    Parameters
    ----------
    log : mapping of str to ndarray
        The columns of its training log.
    regimes : Regimes
        How many seeds and steps.

    Returns
    -------
    dict of str to ndarray
        ``regime_reward`` (S, W), ``regime_final``, ``regime_peak`` and ``regime_decline`` (S,), and the means of the
        last two over the other seeds by themselves, ``regime_peak_without`` and ``regime_decline_without`` (S,).
    """
    columns = ("environment_steps", "agent_seed", "episodes", "mean_reward")
    steps, seed, episodes, reward = (np.asarray(log[name], np.float64) for name in columns)
    windows = regimes.windows
    # windows of equal numbers of environment steps, so that regimes compare
    window = np.minimum((windows * (steps - 1) // regimes.steps).astype(int), windows - 1)
    totals, counts = np.zeros((2, regimes.seeds, windows))
    known = np.isfinite(reward)
    np.add.at(totals, (seed[known].astype(int), window[known]), (reward * episodes)[known])
    np.add.at(counts, (seed[known].astype(int), window[known]), episodes[known])
    tenth = max(windows // 10, 1)
    # sums over sums: episodes count alike, not windows
    tenths = ratio(
        moving_sums(totals, tenth), moving_sums(counts, tenth)
    )  # one mean for both: with another a peak is higher
    last, peak = tenths[:, -1], peaks(tenths)
    # jackknife: without a seed the others choose their windows anew
    others = without_each(tenths)
    peak_without = ratio(np.array([peaks(some).sum() for some in others]), len(others) - 1)
    last_without = ratio(np.array([some[:, -1].sum() for some in others]), len(others) - 1)
    return {
        "regime_reward": ratio(totals, counts),
        "regime_final": last,
        "regime_peak": peak,
        "regime_decline": peak - last,
        "regime_peak_without": peak_without,
        "regime_decline_without": peak_without - last_without,
    }


def ratio(totals: np.ndarray, counts: np.ndarray | int) -> np.ndarray:
    """Return means, NaN where nothing was counted.

    Parameters
    ----------
    totals : ndarray
        Sums.
    counts : ndarray or int
        Of how many, in the same shape.
    """
    return np.asarray(totals / np.where(np.asarray(counts) > 0, counts, np.nan))


def moving_sums(values: np.ndarray, windows: int) -> np.ndarray:
    """Return the sums of so many neighboring windows, wherever they fit: (S, W - windows + 1).

    Parameters
    ----------
    values : ndarray, (S, W)
        A number for each seed and window.
    windows : int
        How many are added up.
    """
    # sum of `windows` neighbors, for each place where they fit
    return np.asarray(np.lib.stride_tricks.sliding_window_view(values, windows, axis=1).sum(axis=-1))


def without_each(values: np.ndarray) -> list[np.ndarray]:
    """Return what is left of all seeds (S, ...) without each of them."""
    return [np.delete(values, own, axis=0) for own in range(len(values))]


def peaks(tenths: np.ndarray) -> np.ndarray:
    """Return each seed's mean where those of the other seeds together are best, if there is a choice: (S,)."""
    found = np.full(len(tenths), np.nan)
    # no seed chooses its own window: the highest of noisy numbers is too high
    for own, others in enumerate(without_each(tenths)):
        if len(others) and tenths.shape[1] > 1 and np.isfinite(others).all(axis=0).any():
            found[own] = tenths[own, np.nanargmax(others.mean(axis=0))]
    return found


def mean_of(values: np.ndarray, without: np.ndarray | None) -> Interval:
    """Return the mean over seeds with its interval, from the means without each where seeds choose for one another.

    Parameters
    ----------
    values : ndarray, (S,)
        A number for each seed.
    without : ndarray, (S,) or None
        The means without each seed; None: seeds are independent.
    """
    return mean_interval(values) if without is None else plain_jackknife(float(values.mean()), without)


def build_dataset(regimes: Regimes, found: list[dict[str, np.ndarray]]) -> xr.Dataset:
    """Label what was found of every regime, batch by batch.

    Parameters
    ----------
    regimes : Regimes
        What was studied.
    found : list of dict of str to ndarray
        What was found of each, batches first, then learning rates.
    """
    shape = (len(regimes.batches), len(regimes.learning_rates))
    each = {name: np.array([one[name] for one in found]).reshape(*shape, *found[0][name].shape) for name in found[0]}
    dims = ("batch_pairs", "learning_rate")
    more = ("regime_seed", "window")
    variables: dict[str, Any] = {name: ((*dims, *more)[: values.ndim], values) for name, values in each.items()}
    for name in MEANS:
        means = [mean_of(one[name], one.get(f"{name}_without")) for one in found]
        for end, field in (("", "value"), ("_low", "low"), ("_high", "high")):
            variables[f"{name}_mean{end}"] = (dims, np.array([getattr(one, field) for one in means]).reshape(shape))
    rates = np.array(regimes.learning_rates)
    known = np.isfinite(each["regime_final"])
    # a learning rate that is not known is never the best
    best = np.where(known, each["regime_final"], -np.inf).argmax(axis=1)
    variables["regime_best_rate"] = (
        ("batch_pairs", "regime_seed"),
        np.where(known.any(axis=1), rates[best], np.nan),
    )
    coordinates = {
        "batch_pairs": list(regimes.batches),
        "learning_rate": rates,
        "regime_seed": np.arange(regimes.seeds),
        "window": (np.arange(regimes.windows) + 1) * regimes.steps / regimes.windows,
    }
    attributes = {
        "study": "sample-regime",
        "environment": preset_of(regimes.environment).spec.id,
        "steps": regimes.steps,
    }
    return validate(xr.Dataset(variables, coordinates, {**attributes, "seed": regimes.seed}), VARIABLES)


def summary(dataset: xr.Dataset) -> dict[str, Any]:
    """Summarize the study as JSON values, lists over batches, then learning rates."""
    names = [f"{name}_mean{end}" for name in MEANS for end in ("", "_low", "_high")]
    return {
        "study": "sample-regime",
        "environment": dataset.attrs["environment"],
        "steps": int(dataset.attrs["steps"]),
        "seeds": dataset.sizes["regime_seed"],
        "batch_pairs": as_json(dataset["batch_pairs"].values),
        "learning_rates": as_json(dataset["learning_rate"].values),
        **{name.removeprefix("regime_"): as_json(dataset[name].values) for name in names},
        "best_rate": as_json(dataset["regime_best_rate"].values),
        **({"failed": as_json(dataset["regime_failed"].values)} if "regime_failed" in dataset else {}),
    }
