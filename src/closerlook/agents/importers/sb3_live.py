"""A model of Stable-Baselines3 that is in this process, its environment and its own code included."""

import copy
import io
from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.importers.containers import Archive
from closerlook.agents.importers.request import ImportRequest
from closerlook.agents.importers.sb3_folder import Live, Model, Statistics
from closerlook.agents.importers.sb3_modules import Description, deviations_of, head_of
from closerlook.agents.importers.sb3_networks import Networks
from closerlook.agents.importers.sb3_pickles import RunningMoments
from closerlook.agents.policies import ModulePolicy, ModuleValue
from closerlook.arguments import environment_id
from closerlook.errors import InputError

_NAME = "the model"

_ARGUMENTS: Mapping[str, Mapping[str, str]] = {
    "TimeFeatureWrapper": {"max_steps": "_max_steps", "test_mode": "_test_mode"},
    "MaskVelocityWrapper": {},
    "HistoryWrapper": {"horizon": "horizon"},
    "HistoryWrapperObsDict": {"horizon": "horizon"},
    "FrameSkip": {"skip": "_skip"},
    "DelayedRewardWrapper": {"delay": "delay"},
    "ActionSmoothingWrapper": {"smoothing_coef": "smoothing_coef"},
    "TruncatedOnSuccessWrapper": {"reward_offset": "reward_offset", "n_successes": "n_successes"},
    "VecFrameStack": {"n_stack": "stacked_obs.n_stack"},
}
"""Wrappers that are followed, and where those of the libraries keep what they were given."""

_WITHOUT_EFFECT = {
    *("Monitor", "RecordEpisodeStatistics", "RecordVideo", "RenderCollection", "Autoreset", "VecMonitor"),
    *("OrderEnforcing", "PassiveEnvChecker", "VecCheckNan", "VecVideoRecorder"),
    *("TimeLimit", "VecNormalize", "VecTransposeImage"),  # read elsewhere
}
"""Wrappers that leave observations, actions and rewards as they are, or that the agent itself holds."""


def from_sb3(
    model: Any, *, env: str | EnvironmentSpec | None = None, settings: Mapping[str, Any] | None = None
) -> Agent:
    """Make an agent of a live model of Stable-Baselines3 or sb3-contrib: PPO, A2C or TRPO.

    Its networks may be of anybody's making, as long as the policy is an actor-critic of the library's form: a features
    extractor, ``mlp_extractor``, ``action_net`` and ``value_net``. Statistics of a VecNormalize are taken from its
    environment. The model is not changed.

    Parameters
    ----------
    model : stable_baselines3.PPO, A2C or sb3_contrib.TRPO
        The model.
    env : str or EnvironmentSpec, optional
        What the agent is to be measured on; default what its environment says it is.
    settings : mapping of str to value, optional
        What the model does not say, or says wrongly: ``{"clip_range": 0.2}``.

    Returns
    -------
    Agent
        See there.

    Raises
    ------
    InputError
        Where it is no model that closerlook measures, or a schedule is a function of the caller's own.

    See Also
    --------
    closerlook.load : the same from a file.
    closerlook.inspect : whether it is the agent that was trained.

    Examples
    --------
    >>> from stable_baselines3 import PPO
    >>> import closerlook as cl
    >>> agent = cl.from_sb3(PPO("MlpPolicy", "CartPole-v1", n_steps=64, device="cpu"))
    >>> agent.algorithm, agent.regime.n_steps
    ('sb3-ppo', 64)
    """
    from closerlook.agents.importers.sb3 import read_model  # noqa: PLC0415 - which has the networks from here

    if not (hasattr(model, "save") and hasattr(model, "policy") and hasattr(model, "get_vec_normalize_env")):
        raise InputError(f"a {type(model).__name__} was given for a model", "give one of Stable-Baselines3")
    content = io.BytesIO()
    model.save(content)
    known = {**_schedules(model), **(settings or {})}
    live = Live(_statistics(model), _environment(model), model.policy)
    found = Model(Archive(Path(_NAME), content.getvalue()), type(model).__name__, (), live)
    wanted = EnvironmentSpec(environment_id(env)) if isinstance(env, str) else env
    agent = read_model(found, ImportRequest(Path(_NAME), wanted, None, known))
    assert agent.origin is not None
    origin = replace(agent.origin, format="live model of Stable-Baselines3")
    return replace(agent, origin=origin)


def _schedules(model: Any) -> dict[str, float]:
    """Call the schedules of a live model where training stands, whoever wrote them."""
    remaining = float(model._current_progress_remaining)
    found = {}
    for name, schedule in (("learning_rate", model.lr_schedule), ("clip_range", getattr(model, "clip_range", None))):
        if callable(schedule):
            value = float(schedule(remaining))
            if value > 0:
                found[name] = value
    return found


def _statistics(model: Any) -> Statistics | None:
    env = model.get_vec_normalize_env()
    if env is None:
        return None

    def moments(found: Any) -> RunningMoments:
        return RunningMoments(np.array(found.mean, float), np.array(found.var, float), float(found.count))

    parts = env.obs_rms if isinstance(env.obs_rms, dict) else {}
    return Statistics(
        observations=moments(env.obs_rms) if env.norm_obs and not parts else None,
        returns=moments(env.ret_rms),
        clip_observations=float(env.clip_obs),
        clip_rewards=float(env.clip_reward),
        epsilon=float(env.epsilon),
        gamma=float(env.gamma),
        scales_observations=bool(env.norm_obs),
        scales_rewards=bool(env.norm_reward),
        parts={key: moments(part) for key, part in parts.items() if env.norm_obs and key in env.norm_obs_keys},
    )


def _environment(model: Any) -> EnvironmentSpec | str | None:
    """Return what the model's environment was made from, where it says so; why not, where it says only a part of it."""
    env = model.get_env()
    try:
        spec = env.get_attr("spec")[0] if env is not None else None
    except AttributeError:
        spec = None
    if spec is None:
        return None
    outer: list[Any] = []
    while hasattr(env, "venv"):
        outer.insert(0, env)
        env = env.venv
    layers = [*_layers(getattr(env, "envs", [None])[0]), *outer]
    names = [type(layer).__name__ for layer in layers]
    if not hasattr(env, "envs"):  # in processes of its own, of which the wrappers' names alone are known
        names += [wrapper.name for wrapper in spec.additional_wrappers]
        layers += [None] * len(spec.additional_wrappers)
    wrappers: list[tuple[str, dict[str, Any]]] = []
    for name, layer in zip(names, layers, strict=True):
        if name in _ARGUMENTS and layer is not None:
            wrappers.append((name, {ours: attrgetter(theirs)(layer) for ours, theirs in _ARGUMENTS[name].items()}))
        elif name not in _WITHOUT_EFFECT:
            return (
                f"from_sb3 does not follow {name}, which is around its environment; give one that does the same (env)"
            )
    arguments = dict(spec.kwargs)
    limits = [layer._max_episode_steps for layer in layers if type(layer).__name__ == "TimeLimit"]
    registered = gymnasium.registry.get(str(spec.id))
    if layers and registered is not None and min(limits, default=None) != registered.max_episode_steps:
        arguments["max_episode_steps"] = min(limits, default=-1)
    return EnvironmentSpec(str(spec.id), arguments, wrappers=tuple(wrappers))


def _layers(env: Any) -> list[Any]:
    """Return the wrappers of an environment, the innermost first."""
    found: list[Any] = []
    while env is not None and env is not env.unwrapped:
        found.insert(0, env)
        env = env.env
    return found


class LiveBranch(nn.Module):
    """The actor or the critic of a policy that somebody wrote in the library's form.

    Parameters
    ----------
    parts : ModuleDict
        Modules of the policy by the library's names.
    described : Description
        Spaces, distribution and the like.
    part : {"policy", "value"}
        Which of the two.
    log_std : Tensor, (A,) or None
        The free log standard deviation, where there is one.
    shared : bool
        Whether both use the same extractor of features.
    """

    def __init__(
        self, parts: nn.ModuleDict, described: Description, part: str, log_std: Tensor | None, *, shared: bool
    ) -> None:
        super().__init__()
        self._actor, self._described = part == "policy", described
        common: dict[str, nn.Module] = {"mlp": parts["mlp_extractor"]}
        own = parts["pi_features_extractor" if self._actor else "vf_features_extractor"]
        if shared:
            common["features"] = own
        else:
            self.features = own
        self.shared = nn.ModuleDict(common)
        self.head = parts["action_net" if self._actor else "value_net"]
        if self._actor and log_std is not None:
            self.log_std = nn.Parameter(log_std.detach().clone())

    def forward(self, flat: Tensor) -> Any:
        """Map [N, obs] to what the head answers."""
        features = self._extractor()(self._seen(flat))
        net: Any = self.shared["mlp"]
        latent = net.forward_actor(features) if self._actor else net.forward_critic(features)
        answered = self.head(latent)
        if not (self._actor and self._described.actions.kind == "Box"):
            return answered
        if not self._described.state_dependent:
            return answered, self.log_std
        return answered, deviations_of(latent, self.log_std, answered.shape[-1], softened=self._described.softened)

    def _extractor(self) -> nn.Module:
        own: nn.Module = self.features if hasattr(self, "features") else self.shared["features"]
        return own

    def _seen(self, flat: Tensor) -> Any:
        """Return observations as features extractors take them."""
        space = self._described.observations
        if space.kind != "Dict":
            return self._shaped(flat, space)
        parts = torch.split(flat, [part.flat for part in space.parts.values()], dim=-1)
        return {key: self._shaped(own, space.parts[key]) for key, own in zip(space.parts, parts, strict=True)}

    def _shaped(self, flat: Tensor, space: Any) -> Tensor:
        if space.kind != "Box":
            return flat
        divisor = 255.0 if space.is_image and self._described.divides_images else 1.0
        return flat.reshape(-1, *space.shape) / divisor


def live_networks(policy: Any, described: Description) -> Networks:
    """Take actor and critic from a live policy.

    Parameters
    ----------
    policy : torch.nn.Module
        Of the library's form.
    described : Description
        The rest.

    Raises
    ------
    InputError
        Where it is of another form.
    """
    needed = ("pi_features_extractor", "vf_features_extractor", "mlp_extractor", "action_net", "value_net")
    if not all(hasattr(policy, name) for name in needed) or not hasattr(policy.mlp_extractor, "forward_actor"):
        hint = "write a function that returns closerlook.Agent.from_torch(...)"
        raise InputError("the policy is not an actor-critic of the library's form", hint)
    # the policy itself also holds what its last sample left, which cannot be copied
    parts = nn.ModuleDict({name: getattr(policy, name) for name in needed})
    copied = copy.deepcopy(parts).cpu().eval()
    theirs: dict[int, str] = {}
    for name, module in copied.items():
        own = "features_extractor" if name.startswith("pi_") else name
        theirs.update({id(t): theirs.get(id(t), f"{own}.{local}") for local, t in module.named_parameters()})
    log_std = getattr(policy, "log_std", None)
    branches = {
        part: LiveBranch(copied, described, part, log_std, shared=bool(policy.share_features_extractor))
        for part in ("policy", "value")
    }
    names = {
        f"{part}.{name}": theirs.get(id(tensor), "log_std")
        for part, branch in branches.items()
        for name, tensor in branch.named_parameters()
    }
    size = described.observations.flat
    actor = ModulePolicy(branches["policy"].eval(), head_of(described), size)
    return Networks(actor, ModuleValue(branches["value"].eval()), names)
