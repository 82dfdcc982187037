"""The variables of landscapes: `landscape`."""

from closerlook.diagnostics.common.variables import EXPLORATION
from closerlook.results.variables import CLIP_NULL as _CLIP_NULL
from closerlook.results.variables import CLIP_SOURCE as _CLIP_SOURCE
from closerlook.results.variables import RATIO, SKEWED, Variable, interval

_FIGURES = "Ilyas et al. (2020), section 2.3, Figures 5 to 7 and 13 to 20"
_PLANE = ("agent", "step", "random")
_LINE = ("agent", "line")
_WHERE = ("agent", "region", "pairs_of")
_RETURN = "mean true, undiscounted episode return: total return over total episodes, each stream to its last one's end"
_BY_STREAM = (
    "Student's t on the ratio over streams; over episodes, 10 at least, where there are one or two streams. The mean "
    "of one stream is biased, by some 10% upward where it holds a few episodes and longer ones earn more."
)
_DIFFERENCE = (
    "Student's t over differences of streams that share their draws; of independent streams where `draws` says so."
)
_JACKKNIFE = "delete-one-group jackknife over groups of streams, Student's t."
_BOTH = (
    "delete-one-group jackknife over groups of streams, for `heldout` of the reward's and of the pairs' own, Student's "
    "t. For `batch` it is of this very batch, whose surrogate is what it is."
)
_SURROGATES = (
    "Surrogate `plain`: mean of ratio times advantage as it is; `normalized`: of advantages standardized over the "
    "pairs; `clipped`: clipped as in PPO, of those that the agent's algorithm uses. Pairs `batch`: those the step was "
    "computed from; `heldout`: others by the same policy. NaN or infinite where ratios overflow."
)
_EXPLODED = "whose policy, or its simulation, was not finite: their reward is NaN."
_UNFINISHED = "of which an episode was given up before its end, so that their reward is NaN: they did not explode."
_AGREE = "of the surrogate that the algorithm climbs and the true reward, both less their value at the agent, "

VARIABLES: list[Variable] = [
    *EXPLORATION,
    *interval(
        "true_reward",
        _PLANE,
        (f"At each point of the plane, {_RETURN}. NaN where the policy explodes.", _BY_STREAM),
        unit="reward",
        source=_FIGURES,
    ),
    *interval("reward_gain", _PLANE, ("true_reward less that at the agent itself.", _DIFFERENCE), unit="reward"),
    *interval(
        "reward_at_budget",
        ("agent", "budget", "step", "random"),
        ("true_reward from the first streams alone: so many pairs of each point.", _BY_STREAM),
        unit="reward",
        source="Ilyas et al. (2020), Figures 5, 19 and 20",
    ),
    Variable("episodes_per_point", _PLANE, "episodes", "Episodes that true_reward is the mean of."),
    Variable(
        "surrogate",
        _PLANE,
        "1",
        "The surrogate that the algorithm climbs, on the pairs the step was computed from: for PPO `clipped`, else "
        "`normalized`, or `plain` where the agent does not standardize advantages.",
        _FIGURES,
    ),
    Variable(
        "surrogates", ("agent", "pairs_of", "surrogate_name", "step", "random"), "1", f"On the plane. {_SURROGATES}"
    ),
    Variable("line_surrogates", ("agent", "pairs_of", "surrogate_name", "line"), "1", f"On the line. {_SURROGATES}"),
    Variable("surrogate_kind", ("agent",), "1", "Place along surrogate_name of the one that the algorithm climbs."),
    Variable("point_mean_kl", _PLANE, "nats", "Mean KL from the agent's policy to the point's, on the step's pairs."),
    Variable(
        "line_mean_kl",
        _LINE,
        "nats",
        "Mean KL from the agent's policy to that of each point along the line, on the step's pairs.",
    ),
    *interval("line_reward", _LINE, (f"Along the first axis, {_RETURN}.", _BY_STREAM), unit="reward", source=_FIGURES),
    Variable("line_episode_length", _LINE, "steps", "Mean steps of the episodes that line_reward is the mean of."),
    *interval("line_gain", _LINE, ("line_reward less that at the agent itself.", _DIFFERENCE), unit="reward"),
    *interval(
        "line_lower_tail",
        _LINE,
        (
            "Mean of the lowest 5% of episode returns along the first axis, its bias taken off by the jackknife; NaN "
            "where line_reward is, and below 20 episodes.",
            f"{_JACKKNIFE} {SKEWED}. Its degrees of freedom are the episodes of the tail, or groups if fewer, less "
            "one. None below 200 episodes.",
        ),
        unit="reward",
        source="Acerbi and Tasche (2002)",
    ),
    *interval(
        "line_tail_gain",
        _LINE,
        (
            "line_lower_tail less that at the agent itself.",
            "delete-one-group jackknife, equal groups of streams left out of both at once, Student's t with the "
            "degrees of freedom of the shorter tail.",
        ),
        unit="reward",
    ),
    *interval(
        "crn_variance_reduction",
        _LINE,
        (
            "How many times fewer pairs a difference to the agent takes with common random numbers than with "
            "independent ones: the two variances' sum over the variance of the paired difference.",
            "delete-one-stream jackknife of its logarithm, Student's t.",
        ),
    ),
    *interval(
        "sign_agreement",
        _WHERE,
        (
            f"Share of points at which the signs {_AGREE}are the same.",
            "a point whose own interval holds zero, or that of the held-out surrogate's rise, counts as disagreeing at "
            "the lower end, as agreeing at the upper.",
        ),
    ),
    *interval(
        "rank_correlation",
        _WHERE,
        (
            f"Spearman's correlation over points {_AGREE}as measured: noise makes it smaller.",
            "balanced half samples of the streams, for `heldout` of the reward's and of the pairs' own: their root "
            "mean square distance times Student's t, and the middle 95% of them.",
        ),
    ),
    *interval(
        "correlation",
        _WHERE,
        (
            f"Correlation over points {_AGREE}the noise of the reward, and of held-out pairs, taken off; not clipped, "
            "so that it may exceed 1; NaN where noise may be all there is.",
            f"{RATIO} For `heldout` of the reward's and of the pairs' own; for `batch` it is of this very batch, whose "
            "surrogate is what it is.",
        ),
        source="Spearman (1904)",
    ),
    Variable(
        "agreement_points",
        _WHERE,
        "points",
        "Points that correlations are over: those whose reward and whose surrogate are known.",
    ),
    Variable(
        "fraction_significant",
        ("agent", "region"),
        "1",
        "Share of points with a known gain, other than the agent itself, whose gain is above or below zero for certain "
        "(95%).",
    ),
    *interval(
        "noise_fraction",
        ("agent", "usual_budget"),
        (
            "How much of the variance over the plane's points would be noise if each had so many pairs of its own: "
            "0.5 where noise and relief are alike. Beyond the pairs sampled it is what noise falling as one over them "
            "gives.",
            "jackknife over groups of streams of log(1 + S q), q the relief over the noise of one of S streams.",
        ),
        source="Ilyas et al. (2020), Figure 5",
    ),
    *interval(
        "best_step",
        ("agent",),
        (
            "Multiple of the first axis at which the mean return is highest, among those of the line.",
            "multiples not significantly below any other (one-sided t, Bonferroni): lowest and highest.",
        ),
        source="Hsu (1981)",
    ),
    Variable(
        "surrogate_best_step", ("agent", "pairs_of"), "1", "Multiple at which the surrogate that is climbed is highest."
    ),
    *interval(
        "full_update_predicted_improvement",
        ("agent", "pairs_of"),
        (
            "What the whole step predicts, NaN where it is not the first axis: the plain, unclipped surrogate's rise, "
            "whichever is climbed, in true reward (times the divisor of the agent's rewards), times the mean length of "
            "an episode. To first order, and by discounted advantages.",
            "Student's t over streams of the held-out pairs; none for the step's own batch.",
        ),
        unit="reward",
        source="Kakade and Langford (2002)",
    ),
    *interval(
        "heldout_improvement_ratio",
        ("agent",),
        (
            "The rise over the whole step of the unclipped surrogate of standardized advantages, whichever is climbed, "
            "on held-out pairs, over that on the step's own: 1 where nothing is overfitting, 0 for a step that has "
            "nothing to do with the gradient; NaN where it does not rise on its own.",
            "Student's t over streams of the held-out pairs, the batch's rise as it is.",
        ),
    ),
    Variable("plane_clip_null", ("agent", "pairs_of", *_PLANE[1:]), "1", f"On the plane, {_CLIP_NULL}", _CLIP_SOURCE),
    Variable("line_clip_null", ("agent", "pairs_of", "line"), "1", f"On the line, {_CLIP_NULL}", _CLIP_SOURCE),
    *interval(
        "full_update_realized_improvement",
        ("agent",),
        ("line_gain at the whole step; NaN where that is not the first axis.", _DIFFERENCE),
        unit="reward",
    ),
    Variable(
        "probability_worse",
        ("agent",),
        "1",
        "Chance that this very step lowers the mean return: one-sided, by the t distribution of "
        "full_update_realized_improvement. Not how often steps from other batches would.",
    ),
    Variable("full_update_norm", ("agent",), "1", "Euclidean norm of the step."),
    Variable(
        "full_update_mean_kl", ("agent",), "nats", "Mean KL from the old policy to the new one on the step's own batch."
    ),
    Variable(
        "zero_update",
        ("agent",),
        "1",
        "Whether an axis leads nowhere, as when the update did not move the policy: all else is NaN then.",
    ),
    Variable(
        "failed_update",
        ("agent",),
        "1",
        "Whether the update ended with parameters that are not finite: all else is NaN then, unless no axis needs it.",
    ),
    Variable("exploded_points", ("agent",), "points", f"Points of the plane {_EXPLODED}"),
    Variable("exploded_line_points", ("agent",), "points", f"Points of the line {_EXPLODED}"),
    Variable("unfinished_points", ("agent",), "points", f"Points of the plane {_UNFINISHED}"),
    Variable("unfinished_line_points", ("agent",), "points", f"Points of the line {_UNFINISHED}"),
    Variable("theta", ("agent", "parameter"), "1", "The agent's policy parameters, flat, in parameter_names' order."),
    Variable("directions", ("agent", "axis", "parameter"), "1", "What one multiple of each axis adds to them."),
]
