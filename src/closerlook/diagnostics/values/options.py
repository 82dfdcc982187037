"""What may be asked of values, and what lies along the dimensions of what is found."""

from dataclasses import dataclass

from closerlook.diagnostics.options import BaseOptions, option
from closerlook.errors import InputError

CRITICS = ("as_is", "updated")
TARGETS = ("gae", "returns", "cut_off_returns")
"""What critics are judged by, see `closerlook.diagnostics.values.variables`."""
BASELINES = ("zero", "mean", "critic", "fitted", "optimal")
"""Those that are always told of; `closerlook.measurements.fitted_values.OWN_TARGET` where it was asked for."""
BATCHES = (1, 10)
"""Training batches for which the best lambda is told."""
FOLLOWED = "discounted_return"
"""The returns that critics are judged by are followed past cuts and time limits."""
LAMBDAS = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 1.0)
"""The default sweep."""


@dataclass(frozen=True, kw_only=True)
class Options(BaseOptions):
    """What may be asked of values."""

    pairs: int = option(
        1_000_000,
        "State-action pairs that everything is judged on, for each agent, rounded up to whole streams; 1e6 is a whole "
        "number.",
        least=1,
    )
    fit_pairs: int = option(
        1_000_000,
        "State-action pairs that the fitted value is fitted to, on disk while it is; 0 leaves out the fitted value "
        "and all that needs it.",
        least=0,
    )
    estimates: int = option(10, "Disjoint gradient estimates of each size, at least.", least=2, most=512)
    sizes: tuple[int, ...] = option(
        (),
        "Pairs of a gradient estimate, one or several sizes.",
        least=2,
        metavar="INT ...",
        otherwise="powers of two from 512, and the training batch",
    )
    lambdas: tuple[float, ...] = option(
        (),
        "Lambdas of generalized advantage estimation to compare; the agent's own always belongs to them.",
        least=0,
        most=1,
        metavar="FLOAT ...",
        otherwise="nine from 0 to 1",
    )
    own_target: bool = option(
        False,
        "Also fit a value to V_old + A of the same pairs, the target that the agent's own critic regresses on: what "
        "the choice of the target costs.",
    )
    updates: int = option(
        8, "Independent updates of the critic that are judged, where the agent's algorithm is known.", least=0
    )
    restarts: int = option(
        32, "States that the simulator is restarted from; 0 leaves bias and noise together.", least=0
    )
    restart_copies: int = option(16, "Restarts from each of these states.", least=0)

    def check(self) -> None:
        """Refuse restarts whose spread would tell nothing, and a second fit without a first."""
        if self.own_target and not self.fit_pairs:
            raise InputError("own-target asks for a fit, and fit-pairs is 0", "give --fit-pairs 100000, for example")
        if self.restarts and self.restart_copies < 2:
            what = f"restart-copies must be at least 2 (got {self.restart_copies})"
            raise InputError(what, "give 2 or more: noise is told from their spread")
