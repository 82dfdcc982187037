"""Agents of Stable-Baselines3 and sb3-contrib (PPO, A2C, TRPO): the zip, unpacked, or a folder.

Nothing in these files is run or unpickled: ``data`` is JSON, what it holds as pickles is read as data, and weights are
read as tensors alone. What the file does not say is looked for beside it (the zoo's and the hub's files), else it is
asked for by name.
"""

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from closerlook.agents.agent import ActionTransform, Agent, Regime
from closerlook.agents.importers.containers import (
    LONGEST_TEXT,
    LONGEST_WEIGHTS,
    read_json,
    read_optimizer,
    read_weights,
)
from closerlook.agents.importers.plain_pickle import Name, Plain, read_pickle
from closerlook.agents.importers.request import ImportRequest, Settings
from closerlook.agents.importers.sb3_environments import environment_of
from closerlook.agents.importers.sb3_folder import (
    DATA,
    OPTIMIZER,
    VERSION,
    WEIGHTS,
    Model,
    Statistics,
    find_model,
    find_statistics,
    is_model,
    normalization_of,
    read_results,
    read_statistics,
)
from closerlook.agents.importers.sb3_live import live_networks
from closerlook.agents.importers.sb3_modules import Description
from closerlook.agents.importers.sb3_networks import Networks, build_networks
from closerlook.agents.importers.sb3_pickles import Schedule, entries_of, episode_returns, schedule_of
from closerlook.agents.importers.sb3_updates import Progress, Saved, optimizer_state, update_settings
from closerlook.agents.importers.spaces import Space, space_of
from closerlook.agents.normalization import Scaling
from closerlook.agents.origin import Origin, Recorded
from closerlook.errors import InputError

NAME = "sb3"
_OTHERS = (
    (("top_quantiles_to_drop_per_net",), "TQC"),
    (("policy_delay", "target_policy_noise"), "TD3 or DDPG"),
    (("exploration_fraction",), "DQN or QR-DQN"),
    (("target_entropy",), "SAC"),
    (("n_delta",), "ARS"),
    (("replay_buffer_class",), "an off-policy algorithm"),
)
_OWN_POLICY = {"ActorCriticPolicy", "ActorCriticCnnPolicy", "MultiInputActorCriticPolicy"}
_SCOPE = "closerlook measures on-policy policy gradients: PPO, A2C and TRPO"
_LIVE = "give the model itself: closerlook.from_sb3(model)"
_ALGORITHMS = {"n_epochs": "sb3-ppo", "cg_max_steps": "sb3-trpo"}
_DEFAULTS: dict[str, dict[str, float]] = {
    "sb3-ppo": {"gae_lambda": 0.95, "n_steps": 2048, "learning_rate": 3e-4, "ent_coef": 0.0, "vf_coef": 0.5},
    "sb3-a2c": {"gae_lambda": 1.0, "n_steps": 5, "learning_rate": 7e-4, "ent_coef": 0.0, "vf_coef": 0.5},
    "sb3-trpo": {"gae_lambda": 0.95, "n_steps": 2048, "learning_rate": 1e-3},
}


def recognizes(request: ImportRequest) -> bool:
    """Whether a path holds a model of the library."""
    return is_model(request.path)


def load(request: ImportRequest) -> Agent:
    """Read an agent.

    Raises
    ------
    InputError
        Where the file is damaged, holds an agent that closerlook does not measure, or networks that are not the
        library's own.
    """
    return read_model(find_model(request.path), request)


def read_model(model: Model, request: ImportRequest) -> Agent:
    """Read an agent from a model that was found.

    Errors as for `load`.

    Parameters
    ----------
    model : Model
        Where its parts are.
    request : ImportRequest
        What was asked for besides.
    """
    data = _Data(model)
    _require_on_policy(data, own_policy=model.live is None)
    spaces = [data.space(f"{kind}_space") for kind in ("observation", "action")]
    config = model.settings("config.yml")
    settings = Settings(str(request.path), request.settings, data.plain, config)
    statistics, seen = _statistics(request, model, settings, data)
    described = _description(data, settings, spaces, statistics, own_policy=model.live is None)
    weights = read_weights(model.container.read(WEIGHTS, LONGEST_WEIGHTS), f"{model.container.where}: {WEIGHTS}")
    # a policy of somebody's own is only there as code: live models have it, files do not
    try:
        networks = build_networks(weights, described)
    except InputError:
        if model.live is None:
            raise
        networks = live_networks(model.live.policy, described)
    algorithm = _algorithm(data, settings)
    update, optimizer = _update(algorithm, data, settings, weights, networks)
    environment = environment_of(model, settings, spaces, request.environment)
    state = {ours: weights[theirs].clone() for ours, theirs in networks.names.items()} | optimizer
    scalings = _scalings(statistics, described, state)
    normalizes = settings.flag("normalize_advantage", default=algorithm != "sb3-a2c")
    regime = Regime(settings.whole("n_envs", 1), settings.whole("n_steps", int(_DEFAULTS[algorithm]["n_steps"])), False)
    agent = Agent(
        policy=networks.policy,
        value=networks.value,
        state=state,
        gamma=settings.number("gamma", 0.99, high=1.0),
        gae_lambda=settings.number("gae_lambda", _DEFAULTS[algorithm]["gae_lambda"], high=1.0),
        action_transform=_transform(described),
        normalize_advantages=normalizes,
        algorithm=algorithm,
        algorithm_settings=update,
        regime=regime,
        environment=environment,
        iteration=_iteration(data, regime),
        origin=_origin(model, data, settings, described, seen),
        **scalings,
    )
    settings.require_all_used()
    return agent


class _Data:
    """The JSON of a model: plain values, and pickles read as data."""

    def __init__(self, model: Model) -> None:
        self.where, self._container = f"{model.container.where}: {DATA}", model.container
        self._content = read_json(model.container.read(DATA, LONGEST_TEXT), self.where)
        self.plain = {name: value for name, value in self._content.items() if not isinstance(value, dict)}
        version = model.container.read(VERSION, 1000) if VERSION in model.container.names else b""
        self.version = version.decode("ascii", "replace").strip()[:20]

    def __contains__(self, name: str) -> bool:
        return name in self._content

    def mirror(self, name: str) -> dict[str, Any]:
        """Return what stands beside a pickle in plain JSON, or a plain mapping."""
        value = self._content.get(name)
        return value if isinstance(value, dict) else {}

    def read(self, name: str) -> Plain:
        """Return a value, of a pickle what it would have built; None where it is damaged."""
        value = self._content.get(name)
        if not (isinstance(value, dict) and ":serialized:" in value):
            return value
        try:
            # ":serialized:" holds base64 of a pickle, read as data by `plain_pickle`, never run
            return read_pickle(base64.b64decode(str(value[":serialized:"]), validate=False), f"{self.where}: {name}")
        except (ValueError, InputError):
            return None

    def schedule(self, name: str) -> Schedule | None:
        """Return a setting that may be a schedule; None where it is somebody's own function."""
        return schedule_of(self.read(name))

    def progress(self) -> Progress:
        """Return where training stands."""
        # _current_progress_remaining falls from 1 to 0: by n_steps n_envs / total with every batch
        remaining, total, *batch = (
            self.plain.get(name) for name in ("_current_progress_remaining", "_total_timesteps", "n_steps", "n_envs")
        )
        numbers = [value if isinstance(value, int | float) and abs(value) < 1e15 else 0 for value in (total, *batch)]
        now = float(remaining) if isinstance(remaining, int | float) and -10.0 <= remaining <= 1.0 else 1.0
        return Progress(now, numbers[1] * numbers[2] / numbers[0] if numbers[0] > 0 else 0.0)

    def optimizer(self) -> Saved:
        """Return the state of the optimizer; without its file, its name alone."""
        keywords = {**self.mirror("policy_kwargs"), **entries_of(self.read("policy_kwargs"))}
        name = str(keywords.get("optimizer_class", "Adam")).rpartition(".")[2].rstrip("'>")
        if OPTIMIZER not in self._container.names:
            return Saved(name, {}, {})
        content = self._container.read(OPTIMIZER, 3 * LONGEST_WEIGHTS)
        return Saved(name, *read_optimizer(content, f"{self._container.where}: {OPTIMIZER}"))

    def space(self, name: str) -> Space:
        """Return a space."""
        return space_of(self.read(name), self.mirror(name), f"{self.where}: {name}")


def _require_on_policy(data: _Data, *, own_policy: bool) -> None:
    """Refuse, in one line, what closerlook does not measure."""
    # algorithms are told apart by fields that only they have: no file says its class reliably
    for names, kind in _OTHERS:
        if all(name in data for name in names):
            raise InputError(f"{data.where} is of {kind}", _SCOPE)
    policy = data.read("policy_class")
    name = policy.name if isinstance(policy, Name) else ""
    other = {"Maskable": "MaskablePPO", "Recurrent": "RecurrentPPO"}
    for start, kind in other.items():
        if name.startswith(start):
            raise InputError(f"{data.where} is of {kind}, whose policy takes more than an observation", _SCOPE)
    if own_policy and name not in _OWN_POLICY:
        raise InputError(f"{data.where} has a policy of somebody's own ({name[:60] or 'code'})", _LIVE)
    if not {"gae_lambda", "vf_coef"} <= set(data.plain):
        raise InputError(f"{data.where} is of no algorithm that closerlook knows", _SCOPE)


def _algorithm(data: _Data, settings: Settings) -> str:
    found = next((name for field, name in _ALGORITHMS.items() if field in data), "sb3-a2c")
    if settings.value("use_sde") is True and settings.whole("sde_sample_freq", -1, low=-1) != 1:
        settings.notices.append(
            "its noise is kept for several steps (gSDE); it is measured with noise drawn anew at each, which is "
            "approximate"
        )
    return found


def _description(
    data: _Data, settings: Settings, spaces: list[Space], statistics: Statistics | None, *, own_policy: bool
) -> Description:
    """Collect what the networks are built by."""
    written = data.read("policy_kwargs")
    keywords = {**data.mirror("policy_kwargs"), **entries_of(written)}
    custom = str(keywords.get("features_extractor_class", "")).rpartition(".")[2].rstrip("'>")
    if own_policy and custom and custom not in {"NatureCNN", "CombinedExtractor", "FlattenExtractor"}:
        raise InputError(f"{data.where} has a features extractor of somebody's own ({custom[:60]})", _LIVE)
    activation = str(keywords.get("activation_fn", "Tanh")).rpartition(".")[2].rstrip("'>")
    parts = statistics.parts if statistics is not None else {}
    return Description(
        observations=spaces[0],
        actions=spaces[1],
        activation=str(settings.value("activation_fn", activation)).lower(),
        state_dependent=settings.flag("use_sde", default=False) and spaces[1].kind == "Box",
        squashed=keywords.get("squash_output") is True,
        softened=keywords.get("use_expln") is True,
        divides_images=keywords.get("normalize_images") is not False,
        moments=parts,
        clip=statistics.clip_observations if statistics is not None else 10.0,
        epsilon=statistics.epsilon if statistics is not None else 1e-8,
    )


def _transform(described: Description) -> ActionTransform:
    if described.actions.kind != "Box":
        return "none"
    return "rescale" if described.squashed else "clip"


def _statistics(
    request: ImportRequest, model: Model, settings: Settings, data: _Data
) -> tuple[Statistics | None, float | None]:
    """Return the statistics that the agent was trained with, and how many observations they saw."""
    if model.live is not None and request.normalize is None:
        live = model.live.statistics
        return live, None if live is None else (live.observations or live.returns).count
    path = find_statistics(model, request.normalize)
    config = model.settings("config.yml")
    said = normalization_of(config)
    # _last_original_obs is there only where a VecNormalize was around the environment
    used = said or ({"norm_obs": True} if data.read("_last_original_obs") is not None else {})
    if path is None:
        for name in ("norm_obs", "norm_reward"):
            if settings.is_given(name):
                used[name] = settings.flag(name, default=False)
        if used.get("norm_obs") or used.get("norm_reward"):
            how = "give the file that VecNormalize.save wrote (--normalize vecnormalize.pkl)"
            settings.ask("normalize", None, f"statistics of observations and rewards; {how}")
        return None, None
    found = read_statistics(path)
    scales = settings.flag("norm_obs", default=said.get("norm_obs", found.scales_observations))
    rewards = _scales_rewards(settings, said, found)
    if found.gamma is not None and not settings.is_given("gamma") and abs(found.gamma - _gamma(data)) > 1e-9:
        settings.notices.append(
            f"the statistics discount returns by {found.gamma:g}, the agent by {_gamma(data):g}: they may be of "
            "another run"
        )
    seen = found.observations or next(iter(found.parts.values()), found.returns)
    kept = Statistics(
        observations=found.observations if scales else None,
        returns=found.returns,
        clip_observations=found.clip_observations,
        clip_rewards=found.clip_rewards,
        epsilon=found.epsilon,
        scales_observations=scales,
        scales_rewards=rewards,
        parts=found.parts if scales else {},
    )
    return kept, seen.count


def _gamma(data: _Data) -> float:
    gamma = data.plain.get("gamma", 0.99)
    return float(gamma) if isinstance(gamma, int | float) else math.nan


def _scales_rewards(settings: Settings, said: Mapping[str, bool], found: Statistics) -> bool:
    """Whether rewards were scaled in training: a flag that is off may have been turned off before it was written."""
    if settings.is_given("norm_reward") or "norm_reward" in said:
        return settings.flag("norm_reward", default=said.get("norm_reward", True))
    # norm_reward is often switched off before saving, to evaluate: then what training did is not known
    if found.scales_rewards:
        return True
    how = "the statistics say that rewards are not scaled, which is often set only to evaluate"
    return bool(settings.ask("norm_reward", True, f"{how}; give --set norm_reward=true or --set norm_reward=false"))


def _scalings(statistics: Statistics | None, described: Description, state: dict[str, Tensor]) -> dict[str, Any]:
    """Return the agent's scalings, and add the moments to its state."""
    if statistics is None:
        return {}
    scalings: dict[str, Any] = {}
    for field, name, moments, clip, used in (
        ("observation_scaling", "observations", statistics.observations, statistics.clip_observations, True),
        ("reward_scaling", "returns", statistics.returns, statistics.clip_rewards, statistics.scales_rewards),
    ):
        if moments is None or not used:
            continue
        mean, var = (torch.from_numpy(array.reshape(-1).copy()) for array in (moments.mean, moments.var))
        size = described.observations.flat if name == "observations" else 1
        if len(mean) != size:
            what = f"the statistics of {name} have {len(mean)} components, the agent's have {size}"
            raise InputError(what, "give those of this agent by --normalize")
        # the divisor n - 1 of ours needs two observations at least
        count = max(moments.count, 2.0)
        state[f"{name}.count"] = torch.tensor(count, dtype=torch.float64)
        state[f"{name}.mean"] = mean
        state[f"{name}.squares"] = var * (count - 1.0)  # the library divides by n
        scalings[field] = Scaling(epsilon=statistics.epsilon, epsilon_on="variance", clip=clip)
    return scalings


def _iteration(data: _Data, regime: Regime) -> int | None:
    steps = data.plain.get("num_timesteps")
    return int(steps // regime.batch_pairs) if isinstance(steps, int) and 0 <= steps < 10**15 else None


def _update(
    algorithm: str, data: _Data, settings: Settings, weights: Mapping[str, Tensor], networks: Networks
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the settings of the algorithm's next update, and the state of its optimizer."""
    names = [name for name in ("learning_rate", "clip_range", "clip_range_vf") if data.plain.get(name, 0) is not None]
    schedules = {name: data.schedule(name) for name in names if name in data}
    saved = data.optimizer()
    update = update_settings(algorithm, settings, schedules, data.progress(), saved)
    state = optimizer_state(weights, networks, saved, update["optimizer"])
    if state is None:
        settings.notices.append("the state of its optimizer does not fit it, and begins anew")
    return update, state or {}


def _origin(model: Model, data: _Data, settings: Settings, described: Description, seen: float | None) -> Origin:
    returns = _recorded_in(data)
    steps = data.plain.get("num_timesteps")
    release = [int(part) for part in data.version.split(".")[:2] if part.isdecimal()]
    if release and release < [1, 4]:
        settings.notices.append(
            f"version {data.version} of the library took time limits for terminations; values are measured as later "
            "versions have them, by the value of the state that would have followed"
        )
    return Origin(
        format="Stable-Baselines3 model",
        library="stable-baselines3",
        version=data.version,
        policy=described.in_words(),
        steps=int(steps) if isinstance(steps, int) else None,
        observations_seen=seen,
        recorded=(*returns, *read_results(model)),
        assumed=dict(settings.assumed),
        missing=dict(settings.missing),
        notices=tuple(settings.notices),
    )


def _recorded_in(data: _Data) -> list[Recorded]:
    """Return the returns of the last episodes of training, whose actions were drawn."""
    try:
        returns = episode_returns(data.read("ep_info_buffer"))
    except (ValueError, TypeError, KeyError):
        return []
    finite = returns[np.isfinite(returns)]
    source = f"the last {len(finite)} episodes of training"
    return [Recorded(tuple(finite.tolist()), "sampled", source)] if len(finite) else []
