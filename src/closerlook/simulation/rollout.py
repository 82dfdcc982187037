"""The closed loop: P policies, each on its own streams of one environment, stepped together.

====== =====================================================================
symbol meaning
====== =====================================================================
P      policies of the population
S      streams of each policy
T      scored steps of each stream
====== =====================================================================
"""

from collections.abc import Sequence

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.errors import InputError
from closerlook.simulation.acting import check_spaces
from closerlook.simulation.engine import EngineChoice, lanes_at_once, lend_engine
from closerlook.simulation.lockstep import Lockstep, Plan
from closerlook.simulation.records import Boundaries, Episodes, Rollout, Sampling
from closerlook.simulation.trial import tried_at_resets

__all__ = ["Boundaries", "Episodes", "Rollout", "Sampling", "rollout", "rollout_episodes"]


def rollout(  # noqa: PLR0913 - what is sampled, under which names, and matters of speed
    agents: Agent,
    environment: EnvironmentSpec,
    sampling: Sampling,
    *,
    seeds: Sequence[int],
    purpose: str,
    streams: Sequence[int],
    lanes: int | None = None,
    update_observations: bool = False,
    engine: EngineChoice = "fastest",
) -> Rollout:
    """Run a population on its streams.

    Episode e of stream s begins with ``reset(seed=derive_seed(seed, purpose, stream=s, episode=e, kind="reset"))``,
    and its actions draw on ``generator(seed, purpose, stream=s, episode=e, kind="action")`` in order; so a stream's
    bytes depend on its own name alone: not on `lanes`, not on which other streams or policies run.

    Parameters
    ----------
    agents : Agent
        A population of P; a single agent is a population of one.
    environment : EnvironmentSpec
        Where.
    sampling : Sampling
        How each stream is sampled.
    seeds : sequence of int
        One root seed for each policy.
    purpose : str
        What the draws are for.
    streams : sequence of int
        Keys of the streams that every policy runs, S.
    lanes : int or None
        How many streams of each policy step together: a matter of speed alone. None: as many as is fastest.
    update_observations : bool
        Whether the moments that standardize observations take in every observation before the policy sees it (in
        training: resets, steps, and the last observation of an episode, in the order they come), else they stay as
        they are.
    engine : {"fastest", "gymnasium"}
        Whether the Gymnasium engine is wanted in any case: a matter of speed alone.

    Returns
    -------
    Rollout
        Everything that happened.

    Raises
    ------
    InputError
        Where the environment is unknown, does not fit the policy, or the settings contradict each other.
    NonFiniteError
        At the first NaN or infinity in an action, its log density, an observation or a reward.
    """
    agents = agents if agents.population is not None else Agent.stack([agents])
    lanes = lanes_at_once(environment, engine) if lanes is None else lanes
    _check_request(agents, sampling, seeds, streams, lanes)
    if update_observations:
        _check_updates(sampling, streams, lanes)
    lanes = min(lanes, len(streams))
    with lend_engine(environment, lanes * len(seeds), engine) as lent:
        agents = tried_at_resets(agents, environment.id, lent)
        check_spaces(agents, environment.id, lent.observation_size, lent.action_space)
        plan = Plan(environment.id, sampling, seeds, purpose, streams, lanes, update_observations)
        return Lockstep(agents, lent, plan).run()


def rollout_episodes(
    agents: Agent,
    environment: EnvironmentSpec,
    sampling: Sampling,
    *,
    seeds: Sequence[int],
    purpose: str,
    streams: Sequence[int],
    lanes: int | None = None,
) -> Episodes:
    """Run a population on its streams and keep the episodes alone: the same ones, in a fraction of the memory.

    Errors as for `rollout`.

    Parameters
    ----------
    agents : Agent
        A population of P, or a single one.
    environment : EnvironmentSpec
        Where they act.
    sampling : Sampling
        How long streams are, and what happens at their ends.
    seeds : sequence of int, (P,)
        Each agent's own root seed.
    purpose : str
        What is sampled for: names the draws.
    streams : sequence of int
        Numbers of the streams.
    lanes : int, optional
        Streams of a policy that are stepped together; default as many as is fastest.
    """
    agents = agents if agents.population is not None else Agent.stack([agents])
    lanes = lanes_at_once(environment) if lanes is None else lanes
    _check_request(agents, sampling, seeds, streams, lanes)
    lanes = min(lanes, len(streams))
    with lend_engine(environment, lanes * len(seeds)) as lent:
        agents = tried_at_resets(agents, environment.id, lent)
        check_spaces(agents, environment.id, lent.observation_size, lent.action_space)
        plan = Plan(environment.id, sampling, seeds, purpose, streams, lanes, keep_transitions=False)
        return Lockstep(agents, lent, plan).run_episodes()


def _check_request(agents: Agent, sampling: Sampling, seeds: Sequence[int], streams: Sequence[int], lanes: int) -> None:
    if len(seeds) != agents.population:
        raise InputError(
            f"{agents.population} policies need as many root seeds (got {len(seeds)})", "give one for each policy"
        )
    if not streams or len(set(streams)) != len(streams) or min(streams) < 0:
        raise InputError("streams must be different numbers from 0 on, at least one", "give range(8), for example")
    if sampling.n_steps < 1 or lanes < 1:
        raise InputError(
            f"steps and lanes must be at least 1 (got {sampling.n_steps} and {lanes})", "give at least one of each"
        )
    if sampling.longest_finish < 1:
        raise InputError(f"longest_finish must be at least 1 (got {sampling.longest_finish})", "give 1 or more")
    if min(sampling.burn_in, sampling.continuation_steps) < 0:
        raise InputError("burn_in and continuation_steps must be at least 0", "give 0 or more")


def _check_updates(sampling: Sampling, streams: Sequence[int], lanes: int) -> None:
    """Moments depend on the order of all steps, so every stream must run from the first step to the last at once."""
    if lanes < len(streams):
        raise InputError(
            f"observation moments cannot be updated with {len(streams)} streams on {lanes} lanes",
            "give as many lanes as streams",
        )
    if sampling.burn_in or sampling.continuation_steps:
        raise InputError(
            "observation moments cannot be updated with a burn-in or a continuation", "set both to 0 in training"
        )
