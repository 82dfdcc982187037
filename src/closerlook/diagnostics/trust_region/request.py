"""What is asked of a measurement of trust regions, checked before anything is simulated."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.identity import probe
from closerlook.algorithms.rules import ALGORITHMS
from closerlook.diagnostics.common.checks import find_environment, require_alike, require_fit, sampling_of, step_regime
from closerlook.errors import InputError
from closerlook.execution import content_key
from closerlook.measurements.computed_steps import LARGEST_BATCH
from closerlook.simulation.engine import describe_environment
from closerlook.simulation.records import Sampling

MOST_REPEATS = 1000


@dataclass(frozen=True)
class Wishes:
    """What a caller may choose beside agents and environment, as given; see `trust_region` for each."""

    repeats: int
    pairs: int
    return_pairs: int
    multiples: Sequence[float]
    step_pairs: int | None
    algorithm: str | None
    seed: int


@dataclass(frozen=True)
class Request:
    """All that is the same for every agent of a call.

    Parameters
    ----------
    environment : EnvironmentSpec
        Where agents act.
    description : mapping
        What that is, for keys.
    sampling : Sampling
        How held-out streams, and those of true rewards, are sampled.
    multiples : ndarray
        Of each step, ascending, 1 among them.
    step : Regime
        How a batch is gathered: ``n_envs`` streams of ``n_steps``.
    wishes : Wishes
        As given.
    """

    environment: EnvironmentSpec
    description: Mapping[str, Any]
    sampling: Sampling
    multiples: np.ndarray
    step: Regime
    wishes: Wishes

    @property
    def seed(self) -> int:
        """Root seed."""
        return self.wishes.seed

    @property
    def heldout_streams(self) -> int:
        """Streams of the held-out pairs of each update."""
        return self._streams(self.wishes.pairs)

    @property
    def return_streams(self) -> int:
        """Streams of each point whose true reward is measured; 0 where none is."""
        return self._streams(self.wishes.return_pairs) if self.wishes.return_pairs else 0

    def _streams(self, pairs: int) -> int:
        return max(1, -(-pairs // self.sampling.n_steps))

    @property
    def whole(self) -> int:
        """Place of the whole step among the multiples."""
        return int(np.flatnonzero(self.multiples == 1.0)[0])

    @property
    def audit_pairs(self) -> int:
        """State-action pairs of one update: its batch and those held out."""
        return self.step.batch_pairs + self.heldout_streams * self.sampling.n_steps

    @property
    def pairs(self) -> int:
        """State-action pairs simulated of each agent, without what finishes episodes."""
        points = (1 + len(self.multiples)) * self.return_streams * self.sampling.n_steps
        return self.wishes.repeats * (self.audit_pairs + points)

    def settings(self, agents: Sequence[Agent]) -> dict[str, Any]:
        """Return what decides the results, for the run folder."""
        return {
            "agents": [content_key(probe(agent)) for agent in agents],
            "environment": self.environment.to_json(),
            **asdict(self.wishes),
            "multiples": self.multiples.tolist(),
        }


def prepare(agents: Sequence[Agent], environment: str | EnvironmentSpec | None, wishes: Wishes) -> Request:
    """Check what was asked, and fill in what was not.

    Raises
    ------
    InputError
        Where agents differ in what they must share, or a choice means nothing.
    NonFiniteError
        Where an agent's parameters are not finite.
    """
    require_alike(agents)
    _require_sensible(wishes)
    spec = find_environment(agents, environment)
    description = describe_environment(spec)
    require_fit(agents, description)
    multiples = np.unique([1.0, *map(float, wishes.multiples)])
    step = step_regime(agents[0].regime, wishes.step_pairs)
    return Request(spec, description, sampling_of(agents, description), multiples, step, wishes)


def _require_sensible(wishes: Wishes) -> None:
    if not 1 <= wishes.repeats <= MOST_REPEATS:
        raise InputError(f"{wishes.repeats} updates cannot be measured", f"give 1 to {MOST_REPEATS} --repeats")
    if wishes.pairs < 2:
        raise InputError(f"pairs is {wishes.pairs}", "give 2 or more")
    if wishes.return_pairs < 0:
        raise InputError(f"return-pairs is {wishes.return_pairs}", "give 0, for no true rewards, or more")
    if wishes.step_pairs is not None and not 2 <= wishes.step_pairs <= LARGEST_BATCH:
        what = f"a step from {wishes.step_pairs} pairs cannot be computed"
        raise InputError(what, f"give 2 to {LARGEST_BATCH:,} pairs")
    bad = [one for one in wishes.multiples if not (math.isfinite(one) and one > 0)]
    if bad:
        raise InputError(f"a step cannot be taken {bad[0]:g} times", "give positive multiples, like 0.5 1 2")
    if wishes.algorithm is not None and wishes.algorithm not in ALGORITHMS:
        raise InputError(f"there is no algorithm {wishes.algorithm!r}", f"choose from {', '.join(ALGORITHMS)}")
