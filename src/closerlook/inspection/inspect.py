"""The identity of an imported agent: same, unlike or unknown, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.origin import Origin, Recorded
from closerlook.arguments import environment_id
from closerlook.errors import InputError
from closerlook.execution.threads import single_thread
from closerlook.inspection.evidence import (
    Expectation,
    Sight,
    episode_returns,
    interval,
    recent,
    sight_and_expectation,
)
from closerlook.simulation.engine import lend_engine
from closerlook.simulation.trial import tried_at_resets
from closerlook.statistics.estimates import Interval

Identity = Literal["same", "unlike", "unknown"]
NOTHING = Interval(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Limits:
    """From where on something speaks against an agent.

    Parameters
    ----------
    difference : float
        Of returns, as a share of what the recorded agent earned more than a random one.
    clipped : float
        Share of standardized components at a bound.
    offset : float
        Mean of a standardized component, in its own spread in training; of the median component.
    value_ratio : float
        Factor between mean value and mean return, either way.
    seen : float
        Factor between observations in the statistics and steps of training, either way.
    """

    difference: float = 0.25
    clipped: float = 0.1
    offset: float = 3.0
    value_ratio: float = 5.0
    seen: float = 1.5


@dataclass(frozen=True)
class Inspection:
    """What is known of an agent, and what was measured of it; intervals are of 95%.

    Parameters
    ----------
    agent : Agent
        Which.
    environment : str
        Where it was measured.
    identity : {"same", "unlike", "unknown"}
        Whether it is the agent that was trained.
    reasons : tuple of str
        Why.
    sampled_return, mode_return, recorded_return : Interval
        Mean return of complete episodes: with drawn actions, with the likeliest, and as it was recorded.
    random_return : float
        Of random actions.
    recorded : Recorded or None
        What the recorded return is of.
    sight : Sight or None
        Of standardized observations.
    expectation : Expectation or None
        Of values.
    episodes : int
        Measured of each.
    """

    agent: Agent
    environment: str
    identity: Identity
    reasons: tuple[str, ...]
    sampled_return: Interval
    mode_return: Interval
    recorded_return: Interval
    random_return: float
    recorded: Recorded | None
    sight: Sight | None
    expectation: Expectation | None
    episodes: int

    @property
    def origin(self) -> Origin:
        """Where the agent comes from."""
        return self.agent.origin or Origin("closerlook agent", "closerlook")

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        origin, sight, values = self.origin, self.sight, self.expectation
        returns = {
            f"{name}_return{end}": getattr(getattr(self, f"{name}_return"), field)
            for name in ("sampled", "mode", "recorded")
            for end, field in (("", "value"), ("_low", "low"), ("_high", "high"))
        }
        return {
            "format": origin.format,
            "library": origin.library,
            "version": origin.version,
            "policy": origin.policy,
            "algorithm": self.agent.algorithm,
            "settings": dict(self.agent.algorithm_settings),
            "gamma": self.agent.gamma,
            "gae_lambda": self.agent.gae_lambda,
            "batch": [self.agent.regime.n_envs, self.agent.regime.n_steps],
            "environment": self.environment,
            "steps": origin.steps,
            "identity": self.identity,
            "reasons": list(self.reasons),
            **returns,
            "recorded_source": self.recorded.source if self.recorded is not None else None,
            "recorded_acting": self.recorded.acting if self.recorded is not None else None,
            "random_return": self.random_return,
            "episodes": self.episodes,
            "observation_mean": None if sight is None else sight.mean.tolist(),
            "observation_spread": None if sight is None else sight.spread.tolist(),
            "share_clipped": None if sight is None else sight.share_clipped,
            "mean_value": None if values is None else values.value.value,
            "mean_discounted_return": None if values is None else values.returns.value,
            "explained_variance": None if values is None else values.explained,
            "assumed": dict(origin.assumed),
            "missing": [f"{name}: {how}" for name, how in origin.missing.items()],
            "notices": list(origin.notices),
        }


@single_thread()
def inspect(
    agent: Agent,
    environment: str | EnvironmentSpec | None = None,
    *,
    episodes: int = 30,
    seed: int = 0,
    limits: Limits | None = None,
) -> Inspection:
    """Measure what an agent earns, sees and expects, and compare it with what was recorded in training.

    Parameters
    ----------
    agent : Agent
        A single one.
    environment : str or EnvironmentSpec, optional
        Where; default what it was trained on.
    episodes : int
        Complete ones, of drawn actions, of the likeliest, and of random ones each.
    seed : int
        Root seed.
    limits : Limits, optional
        From where on something speaks against it.

    Returns
    -------
    Inspection
        See there.

    Raises
    ------
    InputError
        Where the environment is not known or does not fit, or there are fewer than 2 episodes.

    See Also
    --------
    closerlook.load : with ``normalize`` and ``settings`` for what a file does not say.

    Examples
    --------
    >>> import closerlook as cl
    >>> agent = cl.load("atlas/hopper-ppo", iteration=0, seed=0)
    >>> found = cl.inspect(agent, episodes=2)
    >>> found.identity in {"same", "unlike", "unknown"}
    True
    """
    if episodes < 2:
        raise InputError(f"episodes must be at least 2 (got {episodes})", "give more")
    if isinstance(environment, str):
        own = agent.environment if agent.environment and agent.environment.id == environment_id(environment) else None
        environment = own or EnvironmentSpec(environment_id(environment))
    where = environment or agent.environment
    if where is None:
        raise InputError("the agent does not say what it was trained on", "give the environment (--env)")
    bare = replace(agent, state={k: v for k, v in agent.state.items() if not k.startswith("optimizer.")})
    with lend_engine(where, 1) as engine:
        bare = tried_at_resets(bare, where.id, engine)
    returns = {
        "sampled": interval(episode_returns(bare, where, "sampled", episodes, seed)),
        "mode": interval(episode_returns(bare, where, "mode", episodes, seed)),
    }
    random = episode_returns(bare, where, "random", episodes, seed)
    sight, expectation = sight_and_expectation(bare, where, seed)
    records = agent.origin.recorded if agent.origin is not None else ()
    recorded = next(iter(records), None)
    found = Case(agent, limits or Limits(), returns, interval(random), records, sight, expectation).decide()
    return Inspection(
        agent=agent,
        environment=where.id,
        identity=found[0],
        reasons=found[1],
        sampled_return=returns["sampled"],
        mode_return=returns["mode"],
        recorded_return=_interval_of(recorded),
        random_return=float(random.mean()) if random.size else np.nan,
        recorded=recorded,
        sight=sight,
        expectation=expectation,
        episodes=episodes,
    )


def _interval_of(recorded: Recorded | None) -> Interval:
    return NOTHING if recorded is None else interval(recent(recorded.returns), recorded.standard_error)


@dataclass(frozen=True)
class Case:
    """The evidence for and against an agent.

    Parameters
    ----------
    agent : Agent
        Which.
    limits : Limits
        From where on something speaks against it.
    returns : mapping of str to Interval
        ``sampled`` and ``mode``.
    random : Interval
        Of random actions.
    records : tuple of Recorded
        Best evidence first.
    sight : Sight or None
        Of standardized observations.
    expectation : Expectation or None
        Of values; None: they are not looked at.
    """

    agent: Agent
    limits: Limits
    returns: Mapping[str, Interval]
    random: Interval
    records: tuple[Recorded, ...]
    sight: Sight | None
    expectation: Expectation | None

    def decide(self) -> tuple[Identity, tuple[str, ...]]:
        """Return the identity, and why: against it first."""
        verdict, reason = self._returns()
        against, doubts, values = self.of_sight(), self._statistics(), self._values()
        # a critic that is not there yet is none of another agent; one beside a policy that is there is
        (against if verdict == "same" else doubts).extend(values)
        reasons = (*against, *doubts, reason)
        if against or verdict == "unlike":
            return "unlike", reasons
        if verdict == "same" and not doubts and not self._missing():
            return "same", reasons
        return "unknown", reasons

    def _missing(self) -> bool:
        return bool(self.agent.origin and self.agent.origin.missing)

    def _returns(self) -> tuple[Identity, str]:
        """Compare returns with the recorded ones, each by the actions that it was recorded with; the first tells most.

        Returns of training are of the policies before this one: where it earns more than they did, and what an
        evaluation at the end recorded, it is the same.
        """
        compared = [self._compare(record) for record in self.records]
        if not compared:
            return "unknown", "no return was recorded to compare with"
        (verdict, said), *others = compared
        if verdict == "same":
            return verdict, said
        first = self.records[0]
        for other, what in others:
            if other == "same" and self.returns[first.acting].value > _interval_of(first).value:
                return "same", f"{what}; it was still learning when the returns of training were recorded"
        if first.acting == "sampled" and self._compare(replace(first, acting="mode"))[0] == "same":
            said += "; its likeliest actions earn the recorded one, which may not be of drawn actions"
            return "unknown", said
        return verdict, said

    def _compare(self, record: Recorded) -> tuple[Identity, str]:
        wanted, found = _interval_of(record), self.returns[record.acting]
        how = "drawn actions earn" if record.acting == "sampled" else "its likeliest actions earn"
        said = f"{how} {_with_ends(found)}, recorded are {_with_ends(wanted)} ({record.source})"
        said += f", random ones earn {_with_ends(self.random)}"
        # differences are judged against what there is to be earned: recorded less random
        scale = abs(wanted.value - self.random.value)
        reach = np.hypot(_reach(found), _reach(wanted) if np.isfinite(_reach(wanted)) else 0.0)
        difference = found.value - wanted.value
        bound = self.limits.difference * scale
        if not np.isfinite(difference + reach + scale):
            return "unknown", f"{said}: too few episodes ended"
        # unlike for certain: even the nearer end of the interval is too far
        if abs(difference) - reach > bound:
            return "unlike", said
        # an interval wider than what is to be told apart tells nothing
        if reach > 2 * bound or scale <= _reach(self.random):
            return "unknown", f"{said}: too uncertain to tell"
        return "same", said

    def of_sight(self) -> list[str]:
        """Say where standardized observations are nothing like what they were in training."""
        if self.sight is None:
            return []
        found = []
        if self.sight.share_clipped > self.limits.clipped:
            found.append(f"{self.sight.share_clipped:.0%} of standardized observations are at their bounds")
        # the median over components: a few that an environment moves far from their mean say nothing
        offset = float(np.median(np.abs(self.sight.mean)))
        if offset > self.limits.offset:
            found.append(f"standardized observations are {offset:.1f} deviations off their mean in training")
        return found

    def _values(self) -> list[str]:
        """Say where values are of another size than the returns they are of."""
        if self.expectation is None:
            return []
        values, returns = self.expectation.value, self.expectation.returns
        bound = self.limits.value_ratio
        # a ratio says something only where neither mean may be zero
        clear = not (returns.low <= 0 <= returns.high) and not (values.low <= 0 <= values.high)
        ratio = values.value / returns.value if returns.value else np.nan
        if not clear or not np.isfinite(ratio) or 1 / bound <= ratio <= bound:
            return []
        return [
            f"values are {values.value:.3g} on average where the discounted returns are {returns.value:.3g}: "
            f"gamma ({self.agent.gamma:g}) or the scale of rewards is not that of training"
        ]

    def _statistics(self) -> list[str]:
        """Say where statistics are of another time than the agent."""
        origin = self.agent.origin
        if origin is None or origin.observations_seen is None or not origin.steps:
            return []
        # statistics see every observation of training once, about
        ratio, bound = origin.observations_seen / origin.steps, self.limits.seen
        if 1 / bound <= ratio <= bound:
            return []
        return [
            f"the statistics saw {origin.observations_seen:,.0f} observations, the agent was trained for "
            f"{origin.steps:,} steps: they are of another time or another run"
        ]


def _reach(found: Interval) -> float:
    return (found.high - found.low) / 2


def _with_ends(found: Interval) -> str:
    reach = _reach(found)
    return f"{found.value:.4g} ± {reach:.2g}" if np.isfinite(reach) else f"{found.value:.4g}"
