"""Checks of what a training run is asked for, before anything is simulated."""

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args

from closerlook.agents.agent import CHOICES
from closerlook.agents.files import MOST_LAYERS, WIDEST
from closerlook.algorithms.ppo import PPOSettings
from closerlook.algorithms.rules import ALGORITHMS
from closerlook.arguments import LARGEST_BATCH, require_choices, require_fractions
from closerlook.errors import InputError
from closerlook.nn.networks import Initialization

if TYPE_CHECKING:
    from closerlook.training.settings import TrainSettings

MOST_SEEDS, MOST_ITERATIONS, MOST_PARAMETERS = 10_000, 1_000_000, 20_000_000
"""Of one run: agents trained together; updates; weights between the layers of a network."""
Baseline = Literal["value", "none"]
_CHOICES: dict[str, tuple[str, ...]] = {
    "algorithm": tuple(ALGORITHMS),
    "initialization": get_args(Initialization),
    "action_transform": CHOICES["action_transform"],
    "bootstrap": CHOICES["bootstrap"],
    "baseline": get_args(Baseline),
    "value_target": CHOICES["value_target"],
}


def require_sensible(settings: "TrainSettings") -> None:
    """Check settings.

    Raises
    ------
    InputError
        Where one means nothing, would not be used, or could not be kept with the agents.
    """
    require_choices(settings, _CHOICES)
    _require_numbers(settings)
    _require_network(settings.hidden)
    _require_json(settings.environment_arguments)
    _require_used(settings)
    _require_checkpoints(settings)


def _require_numbers(settings: "TrainSettings") -> None:
    for name in ("seeds", "n_envs", "n_steps"):
        if getattr(settings, name) < 1:
            raise InputError(f"{name} must be at least 1 (got {getattr(settings, name)})", "give 1 or more")
    if not 0 <= settings.first_seed <= MOST_SEEDS:
        raise InputError(f"first_seed must be from 0 to {MOST_SEEDS:,} (got {settings.first_seed})", "give 0 or more")
    _require_size(settings)
    require_fractions(settings, ("gamma", "gae_lambda"))
    for name in ("observation_clip", "reward_clip"):
        clip = getattr(settings, name)
        if clip is not None and not 0.0 < clip < math.inf:
            raise InputError(f"{name} must be positive or none (got {clip:g})", "give a positive number, or none")
    if settings.iterations < 1:
        batch = settings.regime.batch_pairs
        raise InputError(f"steps must be at least one batch, {batch} (got {settings.steps})", "give more --steps")


def _require_size(settings: "TrainSettings") -> None:
    """Refuse, before anything is made, what no machine could hold or list."""
    most = {"seeds": MOST_SEEDS, "n_envs": LARGEST_BATCH, "n_steps": LARGEST_BATCH}
    for name, bound in most.items():
        if getattr(settings, name) > bound:
            raise InputError(f"{name} must be at most {bound:,} (got {getattr(settings, name):,})", "give fewer")
    if settings.regime.batch_pairs > LARGEST_BATCH:
        what = f"n_envs times n_steps is too large (got {settings.n_envs:,} times {settings.n_steps:,})"
        raise InputError(what, f"give n_envs and n_steps whose product is {LARGEST_BATCH:,} at most")
    if settings.iterations > MOST_ITERATIONS:
        what = f"iterations must be at most {MOST_ITERATIONS:,} (got {settings.iterations:,})"
        raise InputError(what, f"give fewer --steps or a larger batch: {MOST_ITERATIONS:,} iterations at most")
    layers = (1, *settings.hidden, 1)
    parameters = sum(one * other for one, other in pairwise(layers))
    if parameters > MOST_PARAMETERS:
        what = f"hidden layers {list(settings.hidden)} have {parameters:,} weights"
        raise InputError(what, f"give layers with {MOST_PARAMETERS:,} at most")


def _require_network(hidden: tuple[int, ...]) -> None:
    if len(hidden) > MOST_LAYERS or any(not 1 <= units <= WIDEST for units in hidden):
        hint = f"give at most {MOST_LAYERS} layers of 1 to {WIDEST:,} units, like 64 64"
        raise InputError(f"hidden is {list(hidden)}", hint)


def _require_json(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of an environment that could not be kept with its agents."""
    try:
        json.dumps(dict(arguments), allow_nan=False)
    except (TypeError, ValueError) as error:
        what = f"environment_arguments {dict(arguments)} cannot be kept with the agents ({error})"
        raise InputError(what, "give finite numbers, texts, and lists of them") from None


def _require_used(settings: "TrainSettings") -> None:
    """Refuse what would be accepted and then not used."""
    for name, kind in ALGORITHMS.items():
        if name != settings.algorithm and getattr(settings, name) != kind():
            what = f"settings of {name} are given, but the algorithm is {settings.algorithm}"
            raise InputError(what, f"give --algo {name}")
    if settings.ppo.total_iterations not in {PPOSettings().total_iterations, settings.iterations}:
        raise InputError("total_iterations follows from the steps", "give --steps instead")
    if settings.baseline == "none" and settings.value_target != "gae":
        raise InputError("there is a value target, and no critic", "leave one of baseline and value_target out")


def _require_checkpoints(settings: "TrainSettings") -> None:
    if any(iteration < 0 for iteration in settings.checkpoints):
        raise InputError("a checkpoint has a negative iteration", "count iterations from 0")
    last = max(settings.checkpoints, default=0)
    if last > settings.iterations and settings.checkpoints != type(settings).checkpoints:
        what = f"a checkpoint is asked for at iteration {last}, and the run ends after {settings.iterations}"
        raise InputError(what, "give other --checkpoints, or more --steps")
