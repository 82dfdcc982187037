"""Variables that several diagnostics store: defined here once."""

from closerlook.results.variables import Variable

_SECTION_2_1 = "Ilyas et al. (2020), section 2.1"

POOL: list[Variable] = [
    Variable(
        "pairs_used",
        ("size",),
        "pairs",
        "State-action pairs of one gradient estimate: the size asked for, rounded down to whole streams from one "
        "stream on.",
    ),
    Variable(
        "is_prefix",
        ("size",),
        "1",
        "Whether estimates of this size are the prefixes of streams, cut there: early states and an earlier "
        "bootstrap, another estimand than that of whole streams.",
    ),
    Variable(
        "estimates",
        ("agent", "size"),
        "1",
        "Estimates of this size, from disjoint sets of streams of the agent's pool.",
        _SECTION_2_1,
    ),
    Variable(
        "incomplete_returns",
        ("agent", "true_gradient"),
        "1",
        "Returns of a true gradient that could not be followed to where they were to end: the environment truncated by "
        "itself and could not go on, or an episode did not end.",
    ),
    Variable("pairs", ("agent",), "pairs", "State-action pairs of the agent's pool."),
    Variable("streams", ("agent",), "1", "Streams of the pool: runs of one environment, as long as in training."),
    Variable(
        "trajectories",
        ("agent",),
        "1",
        "Trajectories, whole or in part, that the pool's pairs come from.",
        _SECTION_2_1,
    ),
    Variable(
        "mean_episode_return",
        ("agent",),
        "reward",
        "Undiscounted true return of the episodes that began in the pool's first 64 streams, summed, over their "
        "number. Those streams finish their last episode, beyond the pool's pairs, so that long ones count too. Where "
        "their pairs are fewer than ten episodes of the longest kind, all that began in the burn-in before them count "
        "as well; missing where one of them had to be given up.",
    ),
]
"""What was sampled, and the estimates of each size that it was divided into."""
EXPLORATION: list[Variable] = [
    Variable(
        "action_std",
        ("agent",),
        "1",
        "Smallest standard deviation of an action component at any state looked at; NaN for what is not Gaussian.",
    ),
]
"""How much the policy explores."""
