"""What simulating takes: rollouts cut short and measured, and what whole ones would take at that pace.

While a `Meter` is on, streams are no longer than it says, and do not go on past a cut, nor burn in, for longer than a
few steps: what is answered is of the right form and means nothing. What was asked for is noted, with what it took.

====== =====================================================================
symbol meaning
====== =====================================================================
S, L   streams of each policy, and those that step together
T      scored steps of a stream
B      its burn-in, at most
H      steps that it goes on past a cut or a time limit, at most
h      probability that a step ends the episode
c      standard deviation of the episodes' lengths over their mean: 1 where h is
       the same at every step
====== =====================================================================
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from closerlook.simulation.lanes import StepResult
from closerlook.simulation.records import Sampling

SHORT = 8
"""Steps of burn-in, and past a cut, while a meter is on."""
Clock = Callable[[], float]


@dataclass(frozen=True)
class Asked:
    """What a rollout was asked for.

    Parameters
    ----------
    sampling : Sampling
        Of each stream, before anything was cut short.
    purpose : str
        What its draws are for.
    policies, streams, lanes : float
        Policies, streams of each, and how many of those step together.
    time_limit : int or None
        Of the environment.
    alone : bool
        Whether streams step one by one, however many there are.
    """

    sampling: Sampling
    purpose: str
    policies: float
    streams: float
    lanes: float
    time_limit: int | None
    alone: bool = False

    @property
    def pairs(self) -> float:
        """Scored steps of all streams."""
        return self.policies * self.streams * self.sampling.n_steps

    def times(self, factor: float, lanes: int) -> "Asked":
        """Return the same of more or fewer streams.

        Parameters
        ----------
        factor : float
            Times as many streams.
        lanes : int
            Those that step together, at most.
        """
        streams = self.streams * factor
        return replace(self, streams=streams, lanes=1 if self.alone else min(streams, max(1, lanes // self.policies)))

    def steps(self, hazard: float, spread: float = 1.0) -> tuple[float, float]:
        """Return the steps of the lockstep and of all lanes that the whole is expected to take.

        Parameters
        ----------
        hazard : float
            h, on average over the steps.
        spread : float
            c^2.
        """
        own, limit = self.sampling, self.time_limit or math.inf
        # an episode that is met at some step of it goes on for E[L^2] / (2 E[L]) = (1 + c^2) / 2h steps on average
        going_on = 2 * hazard / (1 + spread)
        # how far a stream goes past its cut: to the end of a Monte Carlo return, or of the episode that it is in
        further = _until(own.continuation_steps, going_on)
        patience = own.longest_finish if self.time_limit is None else max(limit / 2, limit - own.n_steps)
        finish = _until(patience, going_on) if own.finish_episodes else 0.0
        beyond = max(further, finish)
        # an episode that lives to its limit is followed beyond it too; where all do, the last is half over at the cut
        lives = (1 - hazard) ** limit
        cut_off = max(0.0, own.n_steps / _until(limit, hazard) - lives / 2) * lives if lives else 0.0
        # scored steps, burn-in (uniform up to B: half of it on average), what follows the cut,
        # and what follows time limits
        stream = own.n_steps + own.burn_in / 2 + beyond + cut_off * further
        lanes = self.lanes
        # the longest of all lanes is waited for: of n exponential waits 1 + log n times their mean, about; of n
        # uniform ones, where all episodes are of one length, 2n / (n + 1) times
        most = max(own.continuation_steps, patience if own.finish_episodes else 0)
        waits, even = lanes * self.policies, min(1.0, spread)
        longest = even * (1 + math.log(waits)) + (1 - even) * 2 * waits / (waits + 1)
        last = min(most, beyond * longest)
        # likewise for burn-in: the largest of n uniform draws is n / (n + 1), their mean 1/2
        late = own.burn_in * (lanes / (lanes + 1) - 0.5)
        return self.streams / lanes * stream + last - beyond + late, self.policies * self.streams * stream


def _until(most: float, hazard: float) -> float:
    """Return the mean number of steps to the end of an episode, or to so many: (1 - (1 - h)^most) / h."""
    if hazard <= 0:
        return most
    return -math.expm1(most * math.log1p(-min(hazard, 1 - 1e-9))) / hazard


@dataclass
class Measured:
    """One rollout, cut short: what was asked for, and what the part of it took.

    Parameters
    ----------
    asked : Asked
        All of it.
    scored : int
        Steps of each stream that were scored.
    rounds, steps : int
        Steps of the lockstep, and of all lanes.
    seconds : float
        What they took.
    """

    asked: Asked
    scored: int
    rounds: int = 0
    steps: int = 0
    seconds: float = 0.0


@dataclass
class Meter:
    """Measures all that is simulated while it is on.

    Parameters
    ----------
    clock : callable
        Seconds.
    longest : int or None
        Scored steps of a stream, at most; None: all that are asked for.
    rollouts : list of Measured
        What was simulated so far.
    lengths : list of int
        Of the episodes that ended in them.
    """

    clock: Clock = time.perf_counter
    longest: int | None = None
    rollouts: list[Measured] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    _ages: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def seconds(self) -> float:
        """Of all rollouts."""
        return sum(one.seconds for one in self.rollouts)

    @property
    def share(self) -> float:
        """Part of the scored steps that were asked for which was simulated."""
        asked = sum(one.asked.pairs for one in self.rollouts)
        return (
            sum(one.asked.pairs * one.scored / one.asked.sampling.n_steps for one in self.rollouts) / asked
            if asked
            else 1.0
        )

    def scored(self, sampling: Sampling) -> int:
        """Return how many steps of a stream are scored."""
        return sampling.n_steps if self.longest is None else min(sampling.n_steps, self.longest)

    def forget(self) -> None:
        """Begin anew."""
        self.rollouts, self.lengths = [], []

    def step(self, result: StepResult) -> None:
        """Count a step of the lanes; of those that all go on, how long their episodes have been going."""
        lanes, rollout = len(result.rewards), self.rollouts[-1]
        if not rollout.rounds or len(self._ages) != lanes:
            self._ages = np.zeros(lanes, np.int64)
        rollout.rounds += 1
        rollout.steps += lanes
        self._ages += 1
        self.lengths += self._ages[result.terminated].tolist()
        self._ages[result.terminated | result.truncated] = 0


_on: list[Meter] = []


@contextmanager
def metered(meter: Meter) -> Iterator[None]:
    """Cut short and measure what this process simulates meanwhile."""
    _on.append(meter)
    try:
        yield
    finally:
        _on.pop()


@contextmanager
def simulating(*asked: Asked) -> Iterator[None]:
    """Measure a rollout, where a meter is on; what belongs to it but is simulated otherwise is noted beside it."""
    if not _on:
        yield
        return
    meter, begun = _on[-1], _on[-1].clock()
    meter.rollouts += [Measured(one, meter.scored(one.sampling)) for one in (*asked[1:], asked[0])]
    try:
        yield
    finally:
        meter.rollouts[-1].seconds += meter.clock() - begun


def count(result: StepResult) -> None:
    """Count a step of the lanes, where a meter is on."""
    if _on and _on[-1].rollouts:
        _on[-1].step(result)


def short(steps: int) -> int:
    """Return how many steps are taken in place of some that are not scored: fewer where a meter is on."""
    return min(steps, SHORT) if _on else steps


def asked_steps(steps: int) -> int:
    """Return the scored steps that were asked for of streams of so many: more where a meter cut them short."""
    return max((one.asked.sampling.n_steps for one in _on[-1].rollouts), default=steps) if _on else steps


def shortened(sampling: Sampling) -> Sampling:
    """Return how a stream is sampled: where a meter is on, as long as it says, and with little that is not scored."""
    if not _on:
        return sampling
    return replace(
        sampling,
        n_steps=_on[-1].scored(sampling),
        burn_in=short(sampling.burn_in),
        continuation_steps=short(sampling.continuation_steps),
        longest_finish=short(sampling.longest_finish),
    )


def gives_up_finishing(time_limit: int | None) -> bool:
    """Whether a finish is given up in time: where the episode may never end, or a meter is on."""
    return time_limit is None or bool(_on)


@dataclass(frozen=True)
class Pace:
    """What steps take.

    Parameters
    ----------
    of_round, of_step : float
        Seconds of each step of the lockstep, however many lanes take it, and of each lane's.
    hazard, spread : float
        h and c^2: how often episodes end, and how evenly.
    """

    of_round: float
    of_step: float
    hazard: float
    spread: float = 1.0

    @classmethod
    def of(cls, few: Measured, many: Measured, hazard: float, spread: float = 1.0) -> "Pace":
        """Find the pace that two rollouts had.

        Parameters
        ----------
        few, many : Measured
            On few lanes, and on many.
        hazard, spread : float
            h and c^2.
        """
        # seconds = of_round rounds + of_step steps, two equations in two unknowns
        determinant = few.rounds * many.steps - many.rounds * few.steps
        if determinant:
            of_round = (few.seconds * many.steps - many.seconds * few.steps) / determinant
            of_step = (many.seconds * few.rounds - few.seconds * many.rounds) / determinant
            if min(of_round, of_step) >= 0:
                return cls(of_round, of_step, hazard, spread)
        return cls(0.0, (few.seconds + many.seconds) / (few.steps + many.steps), hazard, spread)

    def seconds(self, asked: Asked) -> float:
        """Return what a whole rollout is expected to take."""
        rounds, steps = asked.steps(self.hazard, self.spread)
        return self.of_round * rounds + self.of_step * steps
