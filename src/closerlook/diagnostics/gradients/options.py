"""What may be asked of gradient estimates."""

from dataclasses import dataclass
from typing import Literal

from closerlook.arguments import LARGEST_BATCH
from closerlook.diagnostics.options import BaseOptions, option

Advantages = Literal["normalized", "raw"]
"""Whether advantages are standardized within the pairs of each estimate, or taken as they are."""
Baseline = Literal["critic", "returns"]
"""What is subtracted from returns: the agent's critic, by generalized advantage estimation, or nothing: returns,
standardized where the agent standardizes advantages (in the values diagnostic ``mean``; its ``zero`` leaves them as
they are)."""


@dataclass(frozen=True, kw_only=True)
class Options(BaseOptions):
    """What may be asked of gradient estimates."""

    pairs: int = option(
        1_000_000,
        "State-action pairs sampled of each agent, rounded up to whole streams; 1e6 is a whole number. An agent whose "
        "training does not reset its environments at every iteration starts each stream after an unscored burn-in.",
        least=1,
    )
    estimates: int = option(10, "Disjoint estimates of each size, at least.", least=2, most=512)
    sizes: tuple[int, ...] = option(
        (),
        "Pairs of an estimate, one or several sizes: below a stream its first pairs, above it whole streams.",
        least=2,
        metavar="INT ...",
        otherwise="powers of two, the training batch, and the largest that gives --estimates",
    )
    advantages: Advantages | None = option(
        None,
        "Whether advantages are standardized within each estimate.",
        alias={"normalised": "normalized"},
        metavar="normalized|raw",
        otherwise="as the agent's algorithm does",
    )
    lambdas: tuple[float, ...] = option(
        (),
        "Also compare estimates by these lambdas of generalized advantage estimation, from the same pairs.",
        least=0,
        most=1,
        metavar="FLOAT ...",
        otherwise="none",
    )
    baselines: tuple[Baseline, ...] = option(
        (),
        "With returns, also compare estimates with discounted returns in place of advantages, from the same pairs.",
        metavar="critic|returns ...",
        otherwise="critic",
    )
    true_gradients: tuple[Literal["discounted_return", "episode_return"], ...] = option(
        (),
        "Also compare estimates with the gradients of true returns; streams then go on past cuts: up to twice the "
        "work.",
        metavar="discounted_return|episode_return ...",
        otherwise="the surrogate's own gradient only",
        old=("truths",),
    )
    updates: bool = option(
        False,
        "Also compare the updates that the algorithm makes of independent batches, from streams of their own.",
        old=("computed_steps",),
    )
    update_sizes: tuple[int, ...] = option(
        (),
        "Pairs of these batches, one or several sizes; implies --updates.",
        least=2,
        most=LARGEST_BATCH,
        metavar="INT ...",
        otherwise="the training batch, 4 times, 16 times ... as much",
        old=("step_sizes",),
    )
    algorithm: Literal["ppo", "trpo", "natural", "vanilla"] | None = option(
        None,
        "Whose update, with its default settings unless it is the agent's own; implies --updates.",
        flag="algo",
        old=("algo",),
        metavar="ppo|trpo|natural|vanilla",
        otherwise="the agent's own",
    )
    precision_size: int | None = option(
        None, "Pairs of the estimates whose cosine --precision is about.", least=2, otherwise="the training batch"
    )
