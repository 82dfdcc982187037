"""Checks of what is asked of a diagnostic, before anything is simulated."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.trial import is_tried, try_out, warn_of_unreached
from closerlook.arguments import environment_id
from closerlook.errors import InputError, NonFiniteError
from closerlook.simulation.acting import check_actions
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout

LONGEST_BURN_IN = 1000
"""Upper bound of the unscored start of a stream where the environment has no time limit."""
TRIED_STEPS, TRIED_STREAMS = 8, 2
"""Steps of each stream, and streams, whose observations users' networks are tried on."""


def as_agents(given: Agent | Sequence[Agent]) -> list[Agent]:
    """Return single agents, populations taken apart.

    Raises
    ------
    InputError
        Where something else was given.
    """
    several: Sequence[object] = given if isinstance(given, list | tuple) else [given]
    agents: list[Agent] = []
    for one in several:
        if not isinstance(one, Agent):
            what = f"a {type(one).__name__} was given for an agent"
            raise InputError(what, "give what closerlook.load or closerlook.Agent.from_torch returns")
        agents += one.unstack()
    return agents


def require_alike(agents: Sequence[Agent]) -> None:
    """Check that agents can be measured in one call.

    Raises
    ------
    InputError
        Where there are none, or they differ in regime or in the architecture of the policy.
    NonFiniteError
        Where a parameter is not finite.
    """
    if not agents:
        raise InputError("there is no agent to measure", "give at least one")
    if len({agent.regime for agent in agents}) > 1:
        raise InputError("the agents gather their batches differently (n_envs, n_steps)", "measure them one by one")
    if len({tuple(agent.policy.parameter_shapes.items()) for agent in agents}) > 1:
        raise InputError("the agents' policies are built differently", "measure them one by one")
    for agent in agents:
        _require_finite(agent)


def require_fit(agents: Sequence[Agent], description: Mapping[str, Any]) -> None:
    """Check that agents take the observations of a described environment, and choose actions of its kind.

    Parameters
    ----------
    agents : sequence of Agent
        To be measured.
    description : mapping
        Of the environment, see `closerlook.simulation.engine.describe_environment`.

    Raises
    ------
    InputError
        Where one does not.
    """
    there, space = description["observation_size"], description["action_space"]
    offered = _offered(space)
    for agent in agents:
        if not is_tried(agent.policy):  # what it takes and chooses is found when it is tried
            continue
        taken = agent.policy.observation_size
        if taken != there:
            what = f"observations of {description['id']} have {there} components, the agent's policy takes {taken}"
            raise InputError(what, "give the environment it was trained on")
        check_actions(Agent.stack([agent]), description["id"], *offered)


def tried(agents: Sequence[Agent], environment: EnvironmentSpec) -> list[Agent]:
    """Try networks of the user's on observations of some first steps; see `closerlook.agents.trial`.

    Parameters
    ----------
    agents : sequence of Agent
        To be measured.
    environment : EnvironmentSpec
        Whose observations they are tried on.

    Raises
    ------
    InputError
        Where they cannot be measured, or do not fit the environment.

    Warns
    -----
    UserWarning
        Of parameters that the policy's distribution does not depend on.
    """
    return [agent if is_tried(agent.policy) else _tried(agent, environment) for agent in agents]


def _tried(agent: Agent, environment: EnvironmentSpec) -> Agent:
    sampling, streams = Sampling(TRIED_STEPS), range(TRIED_STREAMS)
    seen, again = (
        rollout(agent, environment, sampling, seeds=[0], purpose="trial", streams=streams, lanes=1).observations[0]
        for _ in range(2)
    )
    inputs = seen.reshape(-1, seen.shape[-1])
    agent = try_out(agent, inputs, environment.id, recurs=np.array_equal(seen, again))
    warn_of_unreached(agent)
    return agent


def _offered(space: Mapping[str, Any]) -> tuple[str, int | tuple[int, ...]]:
    """Return what `closerlook.simulation.acting.actions_offered` says of the described space."""
    if space["type"] == "Box":
        return "continuous", math.prod(space["shape"])
    if space["type"] == "MultiDiscrete":
        return "several discrete", tuple(space["n"])
    return ("binary", len(space["n"])) if space["type"] == "MultiBinary" else ("discrete", space["n"])


def find_environment(agents: Sequence[Agent], environment: object) -> EnvironmentSpec:
    """Return the environment that was asked for, else the one that all agents were trained on.

    Parameters
    ----------
    agents : sequence of Agent
        To be measured.
    environment : EnvironmentSpec, str or None
        What was asked for; None: what the agents were trained on.

    Raises
    ------
    InputError
        Where agents do not say, or differ.
    """
    if isinstance(environment, EnvironmentSpec):
        return environment
    if isinstance(environment, str):
        own = agents[0].environment
        if agents[0].origin is not None and own is not None and own.id == environment_id(environment):
            return own  # with the wrappers that an imported agent acts in
        return EnvironmentSpec(environment_id(environment))
    if environment is not None:
        what = f"a {type(environment).__name__} was given for an environment"
        raise InputError(what, "name it, by its Gymnasium id or as module:function, so that workers can build it")
    first = agents[0].environment
    if first is None:
        raise InputError("the agent does not say what it was trained on", "give the environment (--env)")
    if any(agent.environment != first for agent in agents):
        raise InputError("the agents were trained on different environments", "give the environment (--env)")
    return first


def _require_finite(agent: Agent) -> None:
    for name, tensor in agent.state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise NonFiniteError(f"{name} of the agent is not finite", "choose another checkpoint")


def sampling_of(agents: Sequence[Agent], description: Mapping[str, Any]) -> Sampling:
    """Return how streams are sampled: as training gathers them, from a reset or after a burn-in of random length.

    Parameters
    ----------
    agents : sequence of Agent
        Of the same regime.
    description : mapping
        Of the environment; ``time_limit`` bounds the burn-in.
    """
    regime = agents[0].regime
    burn_in = 0 if regime.reset_each_iteration else int(description["time_limit"] or LONGEST_BURN_IN)
    return Sampling(regime.n_steps, burn_in=burn_in)


def step_regime(regime: Regime, pairs: int | None) -> Regime:
    """Return how the batch of a step is gathered: the agent's own, or so many pairs in streams as long as its.

    Parameters
    ----------
    regime : Regime
        The agent's own.
    pairs : int or None
        Of the batch; None: the agent's own batch.
    """
    if pairs is None:
        return regime
    if pairs < regime.n_steps:
        return Regime(1, pairs, regime.reset_each_iteration)
    return Regime(pairs // regime.n_steps, regime.n_steps, regime.reset_each_iteration)
