"""The next update of a Stable-Baselines3 agent: its settings at this point of training, and its optimizer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from closerlook.agents.importers.request import Settings
from closerlook.agents.importers.sb3_networks import Networks, unique_names
from closerlook.agents.importers.sb3_pickles import Schedule

_OPTIMIZERS = {"Adam": "adam", "RMSprop": "rmsprop", "RMSpropTFLike": "rmsprop_tf"}
_KINDS = {"adam": ("exp_avg", "exp_avg_sq"), "rmsprop": ("square_avg",), "rmsprop_tf": ("square_avg",)}


@dataclass(frozen=True)
class Saved:
    """What a file keeps of its optimizer.

    Parameters
    ----------
    name : str
        Of its class.
    group : mapping
        Its settings; empty where there is no file of it.
    moments : mapping of int to mapping
        By the place of a parameter.
    """

    name: str
    group: Mapping[str, Any]
    moments: Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True)
class Progress:
    """Where training stands.

    Parameters
    ----------
    remaining : float
        The library's progress remaining: from 1 to 0, and slightly below.
    of_batch : float
        By how much a batch brings it down.
    """

    remaining: float
    of_batch: float


def update_settings(
    algorithm: str, settings: Settings, schedules: Mapping[str, Schedule | None], progress: Progress, saved: Saved
) -> dict[str, Any]:
    """Return the settings of an algorithm's next update, by the names of closerlook's own settings of it.

    Parameters
    ----------
    algorithm : str
        Which.
    settings : Settings
        What the file, its surroundings and the caller say; told what was assumed and what is missing.
    schedules : mapping of str to Schedule or None
        Of the file: ``learning_rate``, ``clip_range``, ``clip_range_vf``; None where it cannot be read.
    progress : Progress
        Where on them training stands.
    saved : Saved
        The optimizer.
    """
    values = _Values(settings, schedules, progress)
    common = {**_optimizer(settings, saved), "learning_rate": values.learning_rate(saved)}
    if algorithm == "sb3-trpo":
        return {
            **common,
            "batch_size": settings.whole("batch_size", 128),
            "critic_updates": settings.whole("n_critic_updates", 10, low=0),
            "target_kl": settings.number("target_kl", 0.01),
            "cg_steps": settings.whole("cg_max_steps", 15),
            "damping": settings.number("cg_damping", 0.1),
            "shrinking": settings.number("line_search_shrinking_factor", 0.8, high=1.0),
            "backtracks": settings.whole("line_search_max_iter", 10),
            "sub_sampling": settings.whole("sub_sampling_factor", 1),
        }
    bound = settings.number_or_none("max_grad_norm")
    joint = {
        **common,
        "value_coefficient": settings.number("vf_coef", 0.5),
        "entropy_coefficient": _entropy_coefficient(settings),
        "max_grad_norm": bound,
    }
    if algorithm == "sb3-a2c":
        return {**joint, "epochs": 1, "batch_size": None, "clip": None}
    return {
        **joint,
        "epochs": settings.whole("n_epochs", 10),
        "batch_size": settings.whole("batch_size", 64),
        "clip": values.clip("clip_range"),
        "value_clip": values.clip("clip_range_vf"),
        "target_kl": settings.number_or_none("target_kl"),
    }


def _entropy_coefficient(settings: Settings) -> float:
    """Return the weight of entropy, which the library takes of either sign."""
    found = settings.number("ent_coef", 0.0, low=-math.inf)
    if found < 0:
        settings.notices.append(f"its ent_coef is {found:g}: updates lower entropy, as the library does with it")
    return found


class _Values:
    """Values of schedules at the next update."""

    def __init__(self, settings: Settings, schedules: Mapping[str, Schedule | None], progress: Progress) -> None:
        self._settings, self._schedules, self._progress = settings, schedules, progress

    def learning_rate(self, saved: Saved) -> float:
        """Return the rate: the caller's, the schedule's, else what the optimizer was last stepped with."""
        settings, last = self._settings, saved.group.get("lr")
        if settings.is_given("learning_rate"):
            return settings.number("learning_rate", 0.0)
        found = self._positive("learning_rate", self._schedules.get("learning_rate"))
        if found is not None:
            return found
        if isinstance(last, int | float) and last > 0:
            return float(settings.assume("learning_rate", float(last), "the optimizer's, the file says none above 0"))
        stored = self._otherwise_stored("learning_rate")
        if stored is not None:
            return stored
        how = "its schedule is somebody's own function; give --set learning_rate=..."
        return float(settings.ask("learning_rate", 3e-4, how))

    def clip(self, name: str) -> float | None:
        """Return how far a ratio or a value may go; None where it is not bounded."""
        settings = self._settings
        if settings.is_given(name):
            return settings.number_or_none(name)
        if name not in self._schedules:
            return None
        found = self._positive(name, self._schedules[name])
        found = self._otherwise_stored(name) if found is None else found
        if found is not None:
            return found
        return float(settings.ask(name, 0.2, f"its schedule is somebody's own function; give --set {name}=..."))

    def _otherwise_stored(self, name: str) -> float | None:
        """Return what the zoo's settings say: a number, or ``lin_`` and the value it falls from."""
        said = self._settings.places[2].get(name)
        if isinstance(said, int | float) and not isinstance(said, bool) and said > 0:
            return float(self._settings.assume(name, float(said), "from config.yml"))
        if isinstance(said, str) and said.startswith("lin_"):
            try:
                return self._positive(name, Schedule(float(said[4:]), 0.0, bounded=False))
            except ValueError:
                return None
        return None

    def _positive(self, name: str, schedule: Schedule | None) -> float | None:
        """Return a schedule's value now, or, where training overshot it, the last one above 0; None where none was."""
        if schedule is None:
            return None
        now, step = self._progress.remaining, self._progress.of_batch
        value = schedule.at(now)
        if value > 0:
            return value
        if schedule.is_constant or step <= 0:
            return None
        # a schedule that has reached 0 would make no update: go back, batch by batch, to its last value above 0
        remaining = now
        while schedule.at(remaining) <= 0 and remaining < 1.0:
            remaining += max(step, 1e-4)
        value = schedule.at(min(remaining, 1.0))
        if value <= 0:
            return None
        self._settings.assume(
            name, value, f"the last value above 0 of its schedule, which is at {schedule.at(now):.3g}"
        )
        return value


def _optimizer(settings: Settings, saved: Saved) -> dict[str, Any]:
    """Return the optimizer's settings."""
    given = settings.value("optimizer")
    name = given if given in _KINDS else _OPTIMIZERS.get(saved.name)
    group = saved.group
    # variants that `closerlook.algorithms.joint.Optimizer` does not have
    unknown = [key for key in ("momentum", "centered", "amsgrad", "maximize", "nesterov") if group.get(key)]
    if name is None or unknown:
        how = f"closerlook does not follow {saved.name or 'its optimizer'}{' with ' + unknown[0] if unknown else ''}"
        name = settings.ask("optimizer", "adam", f"{how}; give another for its update by --set optimizer=adam")
    settings.is_given("optimizer")
    found = {
        "optimizer_epsilon": group.get("eps", 1e-5),
        "alpha": group.get("alpha", 0.99),
        "weight_decay": group.get("weight_decay", 0.0),
    }
    numbers = {key: float(value) for key, value in found.items() if isinstance(value, int | float) and 0 <= value < 1e6}
    betas = group.get("betas", (0.9, 0.999))
    fine = isinstance(betas, tuple | list) and len(betas) == 2 and all(0 <= float(beta) < 1 for beta in betas)
    return {"optimizer": name, **numbers, "betas": [float(beta) for beta in betas] if fine else [0.9, 0.999]}


def optimizer_state(
    weights: Mapping[str, Tensor], networks: Networks, saved: Saved, kind: str
) -> dict[str, Tensor] | None:
    """Return the moments of policy and critic as parts of an agent's state; None where they do not fit.

    Parameters
    ----------
    weights : mapping of str to Tensor
        By the library's names, in its order.
    networks : Networks
        Whose parameters.
    saved : Saved
        Moments by place.
    kind : str
        Of closerlook's optimizers.
    """
    # torch numbers parameters in the order of the module's, those listed twice once
    places = {name: place for place, name in enumerate(unique_names(weights))}
    state: dict[str, Tensor] = {}
    for ours, theirs in networks.names.items():
        part, _, local = ours.partition(".")
        own = saved.moments.get(places[theirs])
        if own is None:
            continue
        for moment in _KINDS[kind]:
            tensor = own.get(moment)
            if not isinstance(tensor, Tensor) or tensor.shape != weights[theirs].shape:
                return None
            state[f"optimizer.{part}.{moment}.{local}"] = tensor.clone()
        step = own.get("step")
        number = float(step) if isinstance(step, int | float | Tensor) else -1.0
        if not 0 <= number < 2**53:
            return None
        state[f"optimizer.{part}.step"] = torch.tensor(int(number))
    return state
