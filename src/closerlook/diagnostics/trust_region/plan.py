"""What is asked of each agent's trust region, resolved; a value that is handed down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from closerlook.agents.agent import Regime
from closerlook.diagnostics.common.checks import step_regime
from closerlook.diagnostics.subjects import Subject
from closerlook.diagnostics.trust_region.options import Options
from closerlook.simulation.records import Sampling


@dataclass(frozen=True)
class Plan:
    """All that is the same for every agent of a call.

    Parameters
    ----------
    options : Options
        As asked.
    description : mapping
        Of the environment.
    sampling : Sampling
        How held-out streams, and those of true rewards, are sampled.
    multiples : ndarray
        Of each step, ascending, 1 among them.
    step : Regime
        How a batch is gathered: ``n_envs`` streams of ``n_steps``.
    """

    options: Options
    description: Mapping[str, Any]
    sampling: Sampling
    multiples: np.ndarray
    step: Regime

    @property
    def heldout_streams(self) -> int:
        """Streams of the held-out pairs of each update."""
        return self._streams(self.options.pairs)

    @property
    def return_streams(self) -> int:
        """Streams of each point whose true reward is measured; 0 where none is."""
        return self._streams(self.options.return_pairs) if self.options.return_pairs else 0

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
        return self.options.repeats * (self.audit_pairs + points)


def plan(subjects: Sequence[Subject], options: Options) -> Plan:
    """Say which multiples are measured, and how batches are gathered.

    Parameters
    ----------
    subjects : sequence of Subject
        Agents of one call, which are built alike.
    options : Options
        What was asked for.
    """
    multiples = np.unique([1.0, *map(float, options.multiples)])
    return Plan(
        options,
        subjects[0].description,
        subjects[0].sampling,
        multiples,
        step_regime(subjects[0].regime, options.step_pairs),
    )
