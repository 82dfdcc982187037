"""What stands around a Stable-Baselines3 model: the zoo's and the hub's files of settings, statistics and results."""

import ast
import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.importers.containers import (
    HINT,
    LONGEST_TEXT,
    Archive,
    Container,
    Folder,
    read_file,
    read_json,
    read_yaml,
)
from closerlook.agents.importers.plain_pickle import read_pickle
from closerlook.agents.importers.sb3_pickles import RunningMoments, entries_of, moments_of, number_of, state_of
from closerlook.agents.origin import Acting, Recorded
from closerlook.errors import InputError

DATA, WEIGHTS, OPTIMIZER, VERSION = "data", "policy.pth", "policy.optimizer.pth", "_stable_baselines3_version"
_STATISTICS = ("vecnormalize.pkl", "vec_normalize.pkl")
_LONGEST_SETTINGS = 1_000_000
_BESIDES = {"best_model", "rl_model", "replay_buffer"}


@dataclass(frozen=True)
class Model:
    """A model and the files around it.

    Parameters
    ----------
    container : Container
        The model itself.
    name : str
        Of its file, without the ending.
    near : tuple of Path
        Folders to look for what belongs to it, the nearest first.
    live : Live or None
        What a model in this process knows beside its file.
    """

    container: Container
    name: str
    near: tuple[Path, ...]
    live: "Live | None" = None

    def sibling(self, *names: str) -> Path | None:
        """Return the nearest file of one of these names."""
        return next((folder / name for folder in self.near for name in names if (folder / name).is_file()), None)

    def settings(self, name: str) -> dict[str, Any]:
        """Return what a YAML file beside the model says; nothing where there is none."""
        path = self.sibling(name)
        return read_yaml(read_file(path, _LONGEST_SETTINGS), str(path)) if path is not None else {}


@dataclass(frozen=True)
class Live:
    """What a model in this process knows beside what its file would say.

    Parameters
    ----------
    statistics : Statistics or None
        Of its environment.
    environment : EnvironmentSpec or str or None
        Where it acts; or why that cannot be said.
    policy : Any
        Its own torch module, for networks that are not the library's.
    """

    statistics: "Statistics | None"
    environment: EnvironmentSpec | str | None
    policy: Any


def is_model(path: Path) -> bool:
    """Whether a file or folder holds a model, or a folder one model among other files."""
    if path.is_dir():
        return {DATA, WEIGHTS} <= {entry.name for entry in path.iterdir()} or bool(_models_in(path))
    return _is_archive(path)


def _is_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return DATA in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError):
        return False


def find_model(path: Path) -> Model:
    """Find the model that a path names.

    Raises
    ------
    InputError
        Where a folder holds several.
    """
    if path.is_file():
        own = path.parent / path.stem
        # the zoo keeps the settings of every model of a run in one folder, named after the environment
        others = () if own.is_dir() else tuple(folder.parent for folder in sorted(path.parent.glob("*/config.yml"))[:1])
        return Model(Archive(path), path.stem, (own, path.parent, *others))
    if (path / DATA).is_file() and (path / WEIGHTS).is_file():
        return Model(Folder(path), path.name, (path, path.parent))
    models = _models_in(path)
    # an archive and what it was unpacked to beside it are one model
    models = [one for one in models if not (one.is_dir() and one.with_name(f"{one.name}.zip") in models)]
    final = [one for one in models if not any(one.stem.startswith(name) for name in _BESIDES)] or models
    if len(final) > 1:
        listed = ", ".join(sorted(one.name for one in final)[:5])
        raise InputError(f"{path} holds several models", f"give one of them: {listed}")
    return find_model(final[0])


def _models_in(path: Path) -> list[Path]:
    """Return archives of models in a folder, and folders that one was unpacked to."""
    entries = [entry for _, entry in zip(range(1000), sorted(path.iterdir()), strict=False)]
    unpacked = [entry for entry in entries if (entry / DATA).is_file() and (entry / WEIGHTS).is_file()]
    return [entry for entry in entries if entry.suffix == ".zip" and _is_archive(entry)] + unpacked


@dataclass(frozen=True)
class Statistics:
    """What the library's VecNormalize keeps.

    Parameters
    ----------
    observations : RunningMoments or None
        Of a vector of observations.
    parts : mapping of str to RunningMoments
        Of a Dict of them.
    returns : RunningMoments
        Of discounted returns, by which rewards are scaled.
    clip_observations, clip_rewards, epsilon : float
        Bounds, and what is added to variances.
    gamma : float or None
        Discount of the returns.
    scales_observations, scales_rewards : bool
        As the file says, which may have been changed before it was written, to evaluate.
    """

    observations: RunningMoments | None
    returns: RunningMoments
    clip_observations: float = 10.0
    clip_rewards: float = 10.0
    epsilon: float = 1e-8
    gamma: float | None = None
    scales_observations: bool = True
    scales_rewards: bool = True
    parts: Mapping[str, RunningMoments] = field(default_factory=dict)


def read_statistics(path: Path) -> Statistics:
    """Read a pickled VecNormalize as data.

    Raises
    ------
    InputError
        Where it is none.
    """
    state = state_of(read_pickle(read_file(path, LONGEST_TEXT), str(path)))
    try:
        returns = moments_of(state["ret_rms"])
        own = state.get("obs_rms")
        parts = {str(key): moments_of(part) for key, part in entries_of(own).items()}
        keys = state.get("norm_obs_keys", state.get("obs_keys"))
        chosen = {
            key: part for key, part in parts.items() if part is not None and (not isinstance(keys, list) or key in keys)
        }
        numbers = {name: number_of(state[name]) for name in ("clip_obs", "clip_reward", "epsilon")}
        if returns is None or not all(np.isfinite(number) and number >= 0 for number in numbers.values()):
            raise ValueError("no moments")
        return Statistics(
            observations=moments_of(own) if not parts else None,
            returns=returns,
            clip_observations=numbers["clip_obs"],
            clip_rewards=numbers["clip_reward"],
            epsilon=numbers["epsilon"],
            gamma=number_of(state["gamma"]) if "gamma" in state else None,
            scales_observations=bool(state.get("norm_obs", True)),
            scales_rewards=bool(state.get("norm_reward", True)),
            parts=chosen,
        )
    except (KeyError, ValueError, TypeError, IndexError, OverflowError):
        raise InputError(f"{path} holds no statistics of a VecNormalize", HINT) from None


def find_statistics(model: Model, given: Path | None) -> Path | None:
    """Return the file of statistics: the one given, else the nearest.

    Parameters
    ----------
    model : Model
        Whose folder is searched.
    given : Path or None
        The file that was asked for.
    """
    return given if given is not None else model.sibling(*_STATISTICS)


def read_results(model: Model) -> list[Recorded]:
    """Return what evaluations beside the model recorded: results.json of the hub, evaluations.npz of a callback."""
    found = []
    path = model.sibling("results.json")
    if path is not None:
        written = read_json(read_file(path, _LONGEST_SETTINGS), str(path))
        mean, std, episodes = (_finite(written.get(name)) for name in ("mean_reward", "std_reward", "n_eval_episodes"))
        if mean is not None:
            error = std / np.sqrt(episodes) if std is not None and episodes else None
            acting: Acting = "mode" if written.get("is_deterministic", True) else "sampled"
            found.append(Recorded((mean,), acting, path.name, error))
    path = model.sibling("evaluations.npz")
    if path is not None:
        returns = _last_evaluation(path)
        found += [Recorded(tuple(returns.tolist()), "mode", path.name)] if len(returns) else []
    return found


def _finite(value: Any) -> float | None:
    number = float(value) if isinstance(value, int | float) and abs(value) < 1e300 else None
    return number if number is not None and np.isfinite(number) else None


def _last_evaluation(path: Path) -> np.ndarray:
    """Return the returns of the last evaluation (E,); of an archive that is damaged or holds objects, none."""
    try:
        content = io.BytesIO(read_file(path, LONGEST_TEXT))
        with zipfile.ZipFile(content) as archive, archive.open("results.npy") as member:
            header = io.BytesIO(member.read(LONGEST_TEXT))
        # the size is checked against the bytes there are before anything is made of the shape
        version = np.lib.format.read_magic(header)
        reads = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = reads[version](header)
        if dtype.kind != "f" or len(shape) != 2 or shape[0] * shape[1] * dtype.itemsize > LONGEST_TEXT:
            return np.empty(0)
        values = np.frombuffer(header.read(), dtype=dtype).reshape(shape)
        last = values[-1].astype(np.float64)
    except (InputError, zipfile.BadZipFile, OSError, ValueError, KeyError, RuntimeError, EOFError, IndexError):
        return np.empty(0)
    except (SyntaxError, TypeError, RecursionError, MemoryError, NotImplementedError):
        return np.empty(0)
    return last if np.isfinite(last).all() else np.empty(0)


def normalization_of(config: Mapping[str, Any]) -> dict[str, bool]:
    """Return whether the zoo's settings say that observations and rewards were standardized.

    ``normalize`` is true, false, a mapping, or such a mapping as Python text: ``{'norm_obs': True}``,
    ``dict(norm_reward=False)``.
    """
    said = config.get("normalize")
    if isinstance(said, bool):
        return {"norm_obs": said, "norm_reward": said}
    if isinstance(said, str):
        said = keywords_of(said)
    if not isinstance(said, Mapping):
        return {"norm_obs": False, "norm_reward": False} if config else {}
    return {name: bool(said.get(name, True)) for name in ("norm_obs", "norm_reward")}


def keywords_of(text: str) -> dict[str, Any]:
    """Read ``dict(a=1)`` or ``{'a': 1}`` of plain values, without evaluating it; nothing where it is something else."""
    try:
        tree = ast.parse(text.strip()[:10_000], mode="eval").body
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "dict":
            return {one.arg: ast.literal_eval(one.value) for one in tree.keywords if one.arg is not None}
        found = ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return {}
    return found if isinstance(found, dict) else {}


def environment_in(name: str) -> str | None:
    """Return what looks like an environment's id in the name of a file: ``ppo-Hopper-v3`` holds ``Hopper-v3``."""
    found = re.search(r"(?:^|[-_])([A-Z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*-v\d+)", name)
    return found[1] if found else None
