"""The variables of gradient quality."""

from closerlook.diagnostics.common.variables import POOL
from closerlook.results.variables import JACKKNIFE, RATIO, Variable, interval

_SECTION_2_1 = "Ilyas et al. (2020), section 2.1"

_CORRECTED = (
    "noise-corrected: the cosine to the exact gradient, whose squared length is estimated from products of different "
    "streams. Unclipped. Where that square is not known to be positive (its jackknife's interval over groups of "
    "streams reaches zero) it is NaN, and its interval -1 to 1."
)
_NOISE_SCALE = "McCandlish et al. (2018), eq. 2.9"


_BY_ESTIMATE = (
    "delete-one-estimate jackknife of log(1 - cosine), Student's t; the estimate's streams leave every true gradient "
    "with it, and the true gradient's length is estimated anew. NaN with fewer than three estimates, or where one "
    "replicate is NaN."
)
_BY_STEP = "delete-one-batch jackknife of log(1 - cosine), Student's t; NaN with fewer than three."
_GROUPS = "(each its own up to 255, else 128 to 191 groups)"
_BY_STEP_AND_GROUP = (
    "delete-one jackknives of log(1 - cosine) over batches and over equal groups of the true gradient's streams "
    f"{_GROUPS}, their variances added, Student's t with Satterthwaite's degrees of freedom; NaN with fewer than three "
    "of either, or where one replicate is NaN."
)
_BY_GROUP = f"delete-one-group jackknife over equal groups of streams {_GROUPS}, Student's t."
_FIRST_STREAMS = "(of the streams that hold the first 65,536 pairs, 8,192 where the policy is no MLP of ours)"

VARIABLES: list[Variable] = [
    *POOL,
    Variable(
        "pairwise_cosine",
        ("agent", "size"),
        "1",
        "Mean cosine similarity of all pairs of disjoint estimates of the gradient of the surrogate "
        "mean(ratio * A) at the parameters that sampled the pairs; policy parameters include the log standard "
        "deviation. Estimates that are exactly zero are left out; NaN where fewer than two are left.",
        "Ilyas et al. (2020), Figures 1 and 9",
    ),
    Variable(
        "pairwise_cosine_low",
        ("agent", "size"),
        "1",
        "Lower end of the 95% interval of pairwise_cosine: delete-one-estimate jackknife of "
        "log(1 - cosine), Student's t; NaN with fewer than three estimates.",
        JACKKNIFE,
    ),
    Variable(
        "pairwise_cosine_high",
        ("agent", "size"),
        "1",
        "Upper end of the 95% interval of pairwise_cosine: delete-one-estimate jackknife of "
        "log(1 - cosine), Student's t; NaN with fewer than three estimates.",
        JACKKNIFE,
    ),
    Variable(
        "alternative_pairwise_cosine",
        ("agent", "alternative", "size"),
        "1",
        "pairwise_cosine of other estimates from the same pairs: raw (advantages as they are) or normalized, "
        "whichever the agent's own are not; lambda <x>: advantages by another lambda; returns: discounted "
        "returns in place of advantages.",
        "Ilyas et al. (2020), Figure 4",
    ),
    Variable(
        "alternative_pairwise_cosine_low",
        ("agent", "alternative", "size"),
        "1",
        "Lower end of the 95% interval of alternative_pairwise_cosine, as of pairwise_cosine_low.",
        JACKKNIFE,
    ),
    Variable(
        "alternative_pairwise_cosine_high",
        ("agent", "alternative", "size"),
        "1",
        "Upper end of the 95% interval of alternative_pairwise_cosine, as of pairwise_cosine_high.",
        JACKKNIFE,
    ),
    *interval(
        "true_cosine",
        ("agent", "size"),
        (
            "Mean cosine similarity of the estimates to the gradient of the same surrogate from all streams of the "
            "pool but the estimate's own.",
            _BY_ESTIMATE,
        ),
        source="Ilyas et al. (2020), Figures 2 and 10",
    ),
    *interval(
        "true_cosine_corrected",
        ("agent", "size"),
        (f"true_cosine, {_CORRECTED}", _BY_ESTIMATE),
        source=_SECTION_2_1,
    ),
    *interval(
        "cosine_to_true_gradient",
        ("agent", "true_gradient", "size"),
        (
            "As true_cosine, to the gradient of true returns: discounted_return (from the pair on, by the agent's "
            "gamma, lambda 1, no factor gamma^t, complete but for 1% of its weight by simulating on past cuts and "
            "time limits); episode_return (undiscounted, to the end of the episode). All are "
            "sums over the pool's own pairs: those that a stream's last episode would have had past its cut are not "
            "among them, and late states of long episodes weigh less than in the gradient of the mean episode return. "
            "A baseline linear in the time since the reset and the agent's critic, fitted on the pool, is taken off.",
            _BY_ESTIMATE,
        ),
        source=_SECTION_2_1,
    ),
    *interval(
        "cosine_to_true_gradient_corrected",
        ("agent", "true_gradient", "size"),
        (f"cosine_to_true_gradient, {_CORRECTED}", _BY_ESTIMATE),
        source=_SECTION_2_1,
    ),
    *interval(
        "alternative_true_cosine_corrected",
        ("agent", "alternative", "size"),
        (
            "true_cosine_corrected of other estimates from the same pairs, to the gradient of their own surrogate.",
            _BY_ESTIMATE,
        ),
    ),
    *interval(
        "alternative_cosine_to_true_gradient_corrected",
        ("agent", "alternative", "true_gradient", "size"),
        ("cosine_to_true_gradient_corrected of other estimates from the same pairs.", _BY_ESTIMATE),
    ),
    *interval(
        "cosine_between_true_gradients",
        ("agent", "true_gradient_pair"),
        (
            "Cosine between the exact gradients of two of: the surrogate, the true discounted return, the true "
            "episode return; from products of different groups of streams. What the critic, lambda and the discount "
            "cost in direction. Unclipped; NaN where a length is not known to be positive.",
            f"{RATIO} Groups {_GROUPS}.",
        ),
    ),
    Variable(
        "squared_gradient_norm",
        ("agent",),
        "1",
        "|G|^2: squared Euclidean norm of the exact gradient of the surrogate, whole streams, advantages centered "
        "where estimates standardize them, raw where not, and not divided by their deviation. Unbiased, and negative "
        "where noise hides it.",
        _NOISE_SCALE,
    ),
    Variable(
        "gradient_variance",
        ("agent",),
        "1",
        "Trace of the covariance of a gradient estimate from whole streams, times its pairs, advantages as of "
        "squared_gradient_norm; in its units times pairs.",
        _NOISE_SCALE,
    ),
    *interval(
        "noise_scale_pairs",
        ("agent",),
        (
            "Simple noise scale B: gradient_variance over squared_gradient_norm, the pairs at which noise and "
            "signal are equal. NaN where the latter is not positive.",
            f"{_BY_GROUP} Of log(1 + b / B), b pairs of a group.",
        ),
        "pairs",
        _NOISE_SCALE,
    ),
    *interval(
        "noise_scale_trajectories",
        ("agent",),
        ("noise_scale_pairs over the mean pairs of a trajectory in the pool.", "as of noise_scale_pairs."),
        "trajectories",
        _NOISE_SCALE,
    ),
    Variable(
        "predicted_pairwise_cosine",
        ("agent", "size"),
        "1",
        "1 / (1 + B / N): the pairwise cosine of estimates of N pairs that the noise scale predicts; NaN below a "
        "stream, where estimates have another mean.",
        _NOISE_SCALE,
    ),
    Variable(
        "predicted_true_cosine",
        ("agent", "size"),
        "1",
        "1 / sqrt(1 + B / N): the same for the cosine to the exact gradient.",
        _NOISE_SCALE,
    ),
    *interval(
        "pairs_for_pairwise_cosine_half",
        ("agent",),
        ("Pairs at which the predicted pairwise cosine is 0.5.", "as of noise_scale_pairs."),
        "pairs",
    ),
    *interval(
        "pairs_for_pairwise_cosine_nine_tenths",
        ("agent",),
        ("Pairs at which the predicted pairwise cosine is 0.9.", "as of noise_scale_pairs."),
        "pairs",
    ),
    *interval(
        "pairs_for_true_cosine_half",
        ("agent",),
        ("Pairs at which the predicted cosine to the exact gradient is 0.5.", "as of noise_scale_pairs."),
        "pairs",
    ),
    *interval(
        "pairs_for_true_cosine_nine_tenths",
        ("agent",),
        ("Pairs at which the predicted cosine to the exact gradient is 0.9.", "as of noise_scale_pairs."),
        "pairs",
    ),
    *interval(
        "effective_sample_fraction",
        ("agent",),
        (
            f"Trace of the covariance of what single pairs contribute {_FIRST_STREAMS}, over gradient_variance: the "
            "share of the pairs that independent ones would take for the same noise.",
            "jackknife of its logarithm, over streams of the one and groups of streams of the other, Student's t.",
        ),
    ),
    Variable(
        "between_trajectory_share",
        ("agent",),
        "1",
        "Share of single pairs' variance that lies between trajectories, by one-way analysis of variance "
        f"{_FIRST_STREAMS}; slightly negative where pairs of a trajectory are as different as any.",
        "Searle, Casella and McCulloch (1992)",
    ),
    Variable(
        "layer_noise_fraction",
        ("agent", "layer"),
        "1",
        "Share of a layer's parameters in gradient_variance.",
    ),
    *interval(
        "layer_noise_scale_pairs",
        ("agent", "layer"),
        ("noise_scale_pairs of the gradient with respect to one layer's parameters.", "as of noise_scale_pairs."),
        "pairs",
        _NOISE_SCALE,
    ),
    Variable(
        "layer_between_trajectory_share",
        ("agent", "layer"),
        "1",
        "between_trajectory_share of one layer's parameters.",
        "Searle, Casella and McCulloch (1992)",
    ),
    *interval(
        "update_pairwise_cosine",
        ("agent", "update_size"),
        (
            "Mean cosine similarity of all pairs of updates (change of all policy parameters) that the algorithm makes "
            "of independent batches, from the same parameters, optimizer state and place in the schedule.",
            _BY_STEP,
        ),
        source="Ilyas et al. (2020), section 2.1, footnote",
    ),
    *interval(
        "update_true_cosine",
        ("agent", "update_size"),
        (
            "Mean cosine similarity of these updates to the gradient of the surrogate from all streams of the pool, "
            "which are others than theirs.",
            _BY_STEP_AND_GROUP,
        ),
        source=_SECTION_2_1,
    ),
    *interval(
        "update_true_cosine_corrected",
        ("agent", "update_size"),
        (f"update_true_cosine, {_CORRECTED}", _BY_STEP_AND_GROUP),
        source=_SECTION_2_1,
    ),
    Variable("mean_update_norm", ("agent", "update_size"), "1", "Mean Euclidean norm of the updates."),
    Variable(
        "update_mean_kl",
        ("agent", "update_size"),
        "nats",
        "Mean KL from the old policy to the new over the states of the batch, averaged over batches.",
    ),
    Variable(
        "zero_updates_by_size",
        ("agent", "update_size"),
        "1",
        "Updates that did not move the policy, for example where a line search accepted no step; they have no "
        "direction.",
    ),
    Variable("update_batches", ("agent",), "1", "Independent batches that updates were computed from, of each size."),
    Variable(
        "fresh_optimizer",
        ("agent",),
        "1",
        "Whether the optimizer began without a memory, as the agent's was not kept, or is of another algorithm than "
        "the update: not quite the update its training would have made.",
    ),
    Variable(
        "gradient_norm",
        ("agent", "size"),
        "1",
        "Mean Euclidean norm of the gradient estimates, in units of the (scaled) advantage, or of its standard "
        "deviation where advantages are normalized.",
    ),
    Variable(
        "zero_gradients",
        ("agent", "size"),
        "1",
        "Estimates that are exactly zero and have no direction, because their advantages are all zero, or all "
        "equal where they are normalized.",
    ),
]
"""Everything a dataset of gradient quality may hold."""
