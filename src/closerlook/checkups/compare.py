"""Two agents, or two populations of them, by every number of a checkup: which are known to differ."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.checkups.case import Case
from closerlook.checkups.numbers import mean_of, means_without_each
from closerlook.checkups.plan import Plan
from closerlook.checkups.run import measure
from closerlook.errors import InputError
from closerlook.execution.threads import single_thread
from closerlook.results.store import as_json
from closerlook.statistics.estimates import Interval, plain_jackknife

FROM_RESETS = ("sampled_return", "mode_return")
"""Numbers whose episodes have the same resets in both agents, so that differences are taken episode by episode."""
FROM_EPISODES = {"sampled_return": "sampled", "mode_return": "mode", "episode_length": "lengths"}
"""Means over episodes, whose own intervals hold each by itself, not together with all others."""
NOT_COMPARED = frozenset({"random_return", "kl_at_quarter", "kl_at_half", "mode_action_share", "best_gain"})


@dataclass(frozen=True)
class Difference:
    """One number of two agents.

    Parameters
    ----------
    number : str
        Its name.
    left, right : float
        Of either.
    difference, low, high : float
        Left less right; the intervals of all numbers hold together with 95%. Of settings both ends are the difference;
        numbers that were sampled without an interval have no ends.
    known : bool
        Whether they are known to differ.
    paired : bool
        Whether draws were shared.
    """

    number: str
    left: float
    right: float
    difference: float
    low: float
    high: float
    known: bool
    paired: bool


@dataclass(frozen=True)
class Comparison:
    """What two agents, or populations, differ in.

    Parameters
    ----------
    left, right : str
        Their names.
    environment : str
        Where.
    differences : tuple of Difference
        By number.
    """

    left: str
    right: str
    environment: str
    differences: tuple[Difference, ...]

    @property
    def known(self) -> tuple[str, ...]:
        """Numbers that are known to differ."""
        return tuple(one.number for one in self.differences if one.known)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; numbers that are not finite are None."""
        found = {**vars(self), "differences": [asdict(one) for one in self.differences], "known": list(self.known)}
        return dict(as_json(found))


@single_thread()
def compare(
    left: Agent | Sequence[Agent],
    right: Agent | Sequence[Agent],
    environment: Any = None,
    *,
    minutes: float = 4.0,
    **more: Any,
) -> Comparison:
    """Measure every number of a checkup of two agents, by the same plan and draws, and take differences.

    Parameters
    ----------
    left, right : Agent or sequence of Agent
        Several are a population: they are compared by their means, with the agents as units.
    environment : str or EnvironmentSpec, optional
        Where; default what each was trained on.
    minutes : float
        For all agents together; a trial turns it into pairs once.
    **more
        ``seed``, ``workers``, ``progress``, as for `closerlook.checkup`; ``names``, of the two.

    Returns
    -------
    Comparison
        See there.

    Raises
    ------
    InputError
        Where agents are missing or do not fit the environment.

    Examples
    --------
    >>> import closerlook as cl
    >>> agent = cl.load("atlas/hopper-ppo", iteration=0, seed=0)
    >>> cl.compare(agent, agent, minutes=0.02, workers=1).known
    ()

    See Also
    --------
    closerlook.checkup : what is wrong with one agent.
    """
    sides = [[one] if isinstance(one, Agent) else list(one) for one in (left, right)]
    if not all(sides):
        raise InputError("there is no agent to compare", "give at least one on either side")
    names = more.pop("names", ("left", "right"))
    plan: Plan | None = None
    cases: list[list[Case]] = [[], []]
    episodes: list[dict[str, np.ndarray]] = []
    count = sum(map(len, sides))
    for side, agents in enumerate(sides):
        for agent in agents:
            label = f"agent {len(episodes) + 1} of {count}"
            case, plan, played = measure(agent, environment, plan, label=label, minutes=minutes / count, **more)
            cases[side].append(case)
            episodes.append(played)
    where = environment or sides[0][0].environment
    # agents of one seed are reset alike; of others each has draws of its own, see `closerlook.agents.identity.own_seed`
    shared = sides[0][0].agent_seed == sides[1][0].agent_seed
    found = differences(cases[0], cases[1], episodes if len(episodes) == 2 else [], paired=shared)
    return Comparison(names[0], names[1], str(getattr(where, "id", where)), found)


def differences(
    left: Sequence[Case],
    right: Sequence[Case],
    episodes: Sequence[Mapping[str, np.ndarray]] = (),
    *,
    paired: bool = True,
) -> tuple[Difference, ...]:
    """Take the difference of every number that both sides have.

    Parameters
    ----------
    left, right : sequence of Case
        One each, or populations.
    episodes : sequence of mapping, 2 or none
        Returns and lengths of the episodes of both, where there is one agent on either side.
    paired : bool
        Whether these have the same resets.
    """
    shared = [name for name in left[0].numbers if all(name in one.numbers for one in (*left, *right))]
    names = [name for name in shared if name not in NOT_COMPARED]
    # Bonferroni over numbers, so that two equal agents are told apart in one comparison of twenty, not in most
    confidence = 1 - 0.05 / max(len(names), 1)
    found = []
    for name in names:
        ends = [np.array([one[name].value for one in side]) for side in (left, right)]
        own = [played[FROM_EPISODES[name]] for played in episodes if FROM_EPISODES.get(name) in played]
        together = paired and name in FROM_RESETS and len(own) == 2 and len(own[0]) == len(own[1])
        if together:
            # the same resets: differences episode by episode are free of what the start made of both
            gap = mean_of(own[0] - own[1], confidence)
        elif len(own) == 2:
            # episodes are the units, two independent means (Welch)
            gap = _difference_of_means(own, confidence)
        elif len(left) == len(right) == 1:
            gap = difference_of(left[0][name], right[0][name])
        else:
            # populations: agents are the units, two independent means (Welch)
            gap = _difference_of_means(ends, confidence)
        known = bool(gap.low > 0 or gap.high < 0)
        values = (float(ends[0].mean()), float(ends[1].mean()), gap.value, gap.low, gap.high)
        found.append(Difference(name, *values, known, together))
    return (*found, *_of_settings(left, right))


def _difference_of_means(sides: Sequence[np.ndarray], confidence: float) -> Interval:
    value = float(sides[0].mean() - sides[1].mean())
    return plain_jackknife(value, *(means_without_each(own) for own in sides), confidence=confidence)


def _of_settings(left: Sequence[Case], right: Sequence[Case]) -> list[Difference]:
    """Compare settings, which no chance is in, of one agent on either side."""
    if len(left) != 1 or len(right) != 1:
        return []
    mine, other = left[0].settings, right[0].settings
    found = []
    for name in mine:
        if name in other and np.isfinite([mine[name], other[name]]).all():
            gap = mine[name] - other[name]
            found.append(Difference(name, mine[name], other[name], gap, gap, gap, gap != 0, False))
    return found


def difference_of(left: Interval, right: Interval) -> Interval:
    """Return the difference of two independent numbers from their intervals, which need not be symmetric.

    Parameters
    ----------
    left, right : Interval
        With equal confidence.

    Returns
    -------
    Interval
        Without ends where either has none: what was sampled and is not known to differ.

    References
    ----------
    Zou and Donner, 2008, "Construction of confidence limits about effect measures: a general approach".
    """
    value = left.value - right.value
    if left.low == left.high and right.low == right.high:
        return Interval(value, np.nan, np.nan)
    # L = d - sqrt((a - l_a)^2 + (u_b - b)^2),  U = d + sqrt((u_a - a)^2 + (b - l_b)^2)
    below = np.hypot(left.value - left.low, right.high - right.value)
    above = np.hypot(left.high - left.value, right.value - right.low)
    return Interval(value, float(value - below), float(value + above))
