"""Trust-region policy optimization on the population axis: (agents, batch, settings) -> (updated agents, info).

Every detail is numbered, with its source, in ``docs/trpo.md``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from closerlook.agents.agent import Agent
from closerlook.algorithms.batch import Batch
from closerlook.algorithms.natural import NaturalInfo, NaturalSettings, searched_update
from closerlook.algorithms.settings import require_numbers


@dataclass(frozen=True)
class TRPOSettings(NaturalSettings):
    """Settings of a TRPO update; the defaults are Table 1's column for Walker2d.

    See Also
    --------
    closerlook.NaturalSettings : the same without a line search.
    closerlook.TrainSettings : where they belong.

    Examples
    --------
    >>> import closerlook as cl
    >>> cl.TRPOSettings(max_kl=0.13).backtracks
    10
    """

    backtracks: int = 10
    """Steps the line search tries: the full one, then half of it, a quarter of it ..."""
    accept_ratio: float = 0.1
    """Share of the improvement predicted by the gradient that a step has to reach."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        super().__post_init__()
        require_numbers(self, ("backtracks",), positive=True)
        require_numbers(self, ("accept_ratio",), positive=False)


def trpo_update(
    agents: Agent, batch: Batch, settings: TRPOSettings, *, seeds: Sequence[int], iteration: int
) -> tuple[Agent, NaturalInfo]:
    """Update the critics, then the policies, of a population; neither sees the other's update.

    A member's result does not depend on who else is in the population. A member keeps its policy where its
    advantages are all equal, where no finite step came of its gradient, and where its line search accepts nothing: a
    step is accepted only with parameters that are finite, a mean KL over the whole batch of at most ``max_kl``, and
    a surrogate that gains. The info says which of these it was.

    Parameters
    ----------
    agents : Agent
        A population of P.
    batch : Batch
        What to compute the update from, (P, S, T).
    settings : TRPOSettings
        How.
    seeds : sequence of int, (P,)
        Each member's own; the critic's minibatches and the states of the Fisher matrix are keyed by them.
    iteration : int
        Updates made before: keys the same draws.

    Returns
    -------
    agents : Agent
        Updated parameters and optimizer state; everything else as it was.
    info : NaturalInfo
        What happened, measured over the whole update on the whole batch.

    Raises
    ------
    InputError
        Where torch knows no KL for the policy's distribution.
    NonFiniteError
        Where a critic's parameter is no longer finite.

    References
    ----------
    Schulman et al., 2015, "Trust Region Policy Optimization", appendix C; Table 1 of "A Closer Look at Deep Policy
    Gradients" and steps.py of its released code.
    """

    def accept(gain: Tensor, predicted: Tensor, kl: Tensor) -> Tensor:
        # comparisons with NaN are false, so an overflow refuses the step
        # L(theta_k) - L(theta_old) > 0.1 g . step_k and mean KL <= delta
        return (gain > settings.accept_ratio * predicted) & (kl <= settings.max_kl)

    return searched_update(agents, batch, settings, accept, tries=settings.backtracks, seeds=seeds, iteration=iteration)
