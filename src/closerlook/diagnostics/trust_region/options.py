"""What may be asked of trust regions."""

import math
from dataclasses import dataclass

from closerlook.arguments import LARGEST_BATCH, Algorithm
from closerlook.diagnostics.options import BaseOptions, option
from closerlook.errors import InputError

MOST_REPEATS = 1000


@dataclass(frozen=True, kw_only=True)
class Options(BaseOptions):
    """What may be asked of trust regions."""

    repeats: int = option(
        10,
        "Independent updates: each has a batch, held-out pairs and streams for its true reward of its own.",
        least=1,
        most=MOST_REPEATS,
    )
    pairs: int = option(
        32_768,
        "Held-out state-action pairs of each update, rounded up to whole streams; 1e5 is a whole number.",
        least=2,
    )
    return_pairs: int = option(
        20_000,
        "State-action pairs of each policy whose true reward is measured, rounded up to whole streams, each of which "
        "finishes its last episode. The agent and all multiples of one update share their random numbers. 0 for no "
        "true rewards.",
        least=0,
    )
    multiples: tuple[float, ...] = option(
        (0.25, 0.5, 1.0, 2.0, 4.0),
        "Of each step, at which divergence, surrogate and true reward are measured too; 1 is always among them.",
        metavar="FLOAT ...",
        otherwise="0.25 0.5 1 2 4",
    )
    step_pairs: int | None = option(
        None,
        "Pairs that an update is computed from, in whole streams, or the first pairs of one.",
        least=2,
        most=LARGEST_BATCH,
        otherwise="the agent's batch",
    )
    algorithm: Algorithm | None = option(
        None,
        "Whose update it is, with its default settings unless it is the agent's own.",
        flag="algo",
        old=("algo",),
        metavar="ppo|trpo|natural|vanilla",
        otherwise="the agent's own, else ppo",
    )

    def check(self) -> None:
        """Refuse multiples that are no steps."""
        bad = [one for one in self.multiples if not (math.isfinite(one) and one > 0)]
        if bad:
            raise InputError(
                f"multiples must be positive and finite (got {bad[0]:g})", "give positive multiples, like 0.5 1 2"
            )
