"""The variables of value prediction: `values`."""

from closerlook.diagnostics.common.variables import POOL
from closerlook.results.variables import RATIO, SKEWED, Variable, interval

_FIGURE_3 = "Ilyas et al. (2020), Figures 3, 11 and 12"
_FIGURE_4 = "Ilyas et al. (2020), Figure 4"
_SECTION_3 = "Ilyas et al. (2020), section 3"
_BY_STREAM = "Student's t over streams."
_BY_STATE = f"{SKEWED}; streams whose states were restarted from are left out in turn."
_BY_UPDATE = "Student's t over independent updates."
_JACKKNIFE_STREAM = "delete-one-stream jackknife of the ratio's logarithm, Student's t."
_JACKKNIFE_GROUP = f"delete-one-group jackknife over equal groups of streams. {SKEWED}."
_JACKKNIFE_ESTIMATE = "delete-one-estimate jackknife of log(1 - cosine), Student's t."
_RELATIVE = (
    "|V - target| / |target|; targets smaller than 1% of the targets' root mean square count as that much in the "
    "divisor. In the critic's own units: of scaled and clipped rewards where the agent has them."
)
_TARGETS = (
    "Target `gae`: V_old + A by the agent's own lambda and critic before its update. Target `returns`: Monte "
    "Carlo discounted returns, simulated on past cuts and time limits until what is missing weighs 1%. Target "
    "`cut_off_returns`: discounted returns that stop with zero at cuts and time limits, as in the released code."
)
_CRITIC = (
    "Critic `as_is`: the agent's. Critic `updated`: after one update by its own algorithm on a fresh batch, mean over "
    "several, its interval wider where they differ (Student's t over updates) and missing where there is but one; "
    "this is what the paper audits; NaN for an agent whose algorithm is not known."
)
_COMPLETE = "by Monte Carlo returns less the baseline (lambda 1, no bootstrap), whose mean no baseline changes"
_CENTERED = (
    "Advantages are centered in the pool where the agent standardizes them, so that a constant error of a baseline "
    "costs nothing here either; those of the baselines zero and optimal are as they are."
)
_EXACT = (
    "at states that the simulator was restarted from many times, each group of states of one stream, drawn as the "
    "pool's pairs are"
)
_JUDGED = (
    "Judged: the agent's critic as it is, the fitted value, and the critic after an update, mean over updates, its "
    "interval wider where they differ, and missing where there is but one."
)

VARIABLES: list[Variable] = [
    *POOL,
    Variable(
        "judged_pairs",
        ("agent",),
        "pairs",
        "Held-out pairs that critics are judged on: the whole pool up to about a million (2^20) pairs, or its first "
        "streams, 64 or more. Baselines and lambdas are compared on the whole pool.",
    ),
    *interval(
        "mean_relative_error",
        ("agent", "critic", "target"),
        (f"Mean over held-out pairs of {_RELATIVE} {_TARGETS} {_CRITIC}", _BY_STREAM),
        source=_FIGURE_3,
    ),
    *interval(
        "median_relative_error",
        ("agent", "critic", "target"),
        ("Median of the same relative errors.", "between quantiles, Woodruff's method with streams as units."),
        source="Woodruff (1952)",
    ),
    *interval(
        "explained_variance",
        ("agent", "critic", "target"),
        ("1 - Var[target - V] / Var[target] over held-out pairs, of the same critics and targets.", _JACKKNIFE_STREAM),
    ),
    *interval(
        "relative_error_as_released",
        ("agent", "critic"),
        (
            "As the released code has it for the target V_old + A: the squared error, the worse of clipped and "
            "unclipped where the value loss is clipped, over |target|; mean over held-out pairs. Targets smaller than "
            "1% of the targets' root mean square count as that much in the divisor, where the released code divides "
            "by the target as it is.",
            _BY_STREAM,
        ),
        source="released code, steps.py, value_loss_gae",
    ),
    *interval(
        "mean_relative_error_true_reward",
        ("agent", "critic"),
        (
            "Mean relative error to the discounted return of true reward, the critic's values multiplied by the "
            "divisor of the agent's rewards; held-out pairs.",
            _BY_STREAM,
        ),
        unit="1",
    ),
    *interval(
        "explained_variance_true_reward",
        ("agent", "critic"),
        (
            "1 - Var[return - V] / Var[return], the return that of true reward and V multiplied by the divisor of the "
            "agent's rewards; held-out pairs. Differs from that of the critic's own units where rewards are clipped.",
            _JACKKNIFE_STREAM,
        ),
    ),
    *interval(
        "train_mean_relative_error",
        ("agent", "target"),
        (f"Mean relative error of the critic `updated` on the very batch it was updated on. {_TARGETS}", _BY_UPDATE),
        source="Ilyas et al. (2020), Figure 11",
    ),
    *interval(
        "train_median_relative_error",
        ("agent", "target"),
        ("Median relative error of the critic `updated` on its own batch, mean over updates.", _BY_UPDATE),
    ),
    *interval(
        "train_explained_variance",
        ("agent", "target"),
        ("Explained variance of the critic `updated` on its own batch, mean over updates.", _BY_UPDATE),
    ),
    Variable(
        "update_fresh_optimizer",
        ("agent",),
        "1",
        "Whether the optimizer of the critic `updated` began without a memory, as the agent's was not kept: not quite "
        "the update its training would have made. False where no update is judged.",
    ),
    *interval(
        "noise_floor_mre",
        ("agent",),
        (
            "Mean relative error to Monte Carlo returns, on held-out pairs, of the fitted value: a network fitted to "
            "Monte Carlo returns of other pairs of the same policy. The error of the fitted value, of what noise "
            "leaves and what the fitted value misses; exact_noise_floor_mre is that of the exact value. A critic that "
            "leans to low returns may go below either.",
            _BY_STREAM,
        ),
        source="Ilyas et al. (2020), section 2.2",
    ),
    *interval(
        "fitted_explained_variance",
        ("agent",),
        (
            "Share of the variance of Monte Carlo returns that the fitted value explains, on held-out pairs.",
            _JACKKNIFE_STREAM,
        ),
    ),
    *interval(
        "own_target_mre",
        ("agent",),
        (
            "Mean relative error to Monte Carlo returns, on held-out pairs, of a value fitted to V_old + A on the "
            "fitted value's own pairs, from the same weights in the same order. NaN unless it was asked for.",
            _BY_STREAM,
        ),
        source=_SECTION_3,
    ),
    *interval(
        "own_target_explained_variance",
        ("agent",),
        (
            "Share of the variance of Monte Carlo returns that the value fitted to V_old + A explains, on held-out "
            "pairs.",
            _JACKKNIFE_STREAM,
        ),
        source=_SECTION_3,
    ),
    *interval(
        "own_target_unexplained_ratio",
        ("agent",),
        (
            "Variance of Monte Carlo returns that the value fitted to V_old + A leaves unexplained, over that which "
            "the fitted value leaves; on the same held-out pairs. Above 1 returns are the better target on this "
            "policy's data.",
            _JACKKNIFE_STREAM,
        ),
        source=_SECTION_3,
    ),
    Variable(
        "fitted_pairs",
        ("agent",),
        "pairs",
        "State-action pairs that the fitted value was fitted to, those that told when to stop not counted.",
    ),
    *interval(
        "exact_noise_floor_mre",
        ("agent",),
        (
            "Mean relative error to Monte Carlo returns of the exact value. A critic that leans to low returns may go "
            "below it: what is least at the exact value is the squared error. Each return is judged against the mean "
            f"of the others of its state, {_EXACT}; "
            "differences are shrunk by the root of (K - 1) / K, as the mean of K - 1 others has noise of its own: "
            "exact for normal noise that is small against the return, too low where returns near zero are common. "
            "Small returns count in the divisor as those of the held-out pairs do.",
            _BY_STATE,
        ),
    ),
    *interval(
        "return_noise",
        ("agent",),
        (f"Mean variance of Monte Carlo returns given the state, in the critic's units squared, {_EXACT}.", _BY_STATE),
        unit="value^2",
    ),
    *interval(
        "squared_bias",
        ("agent", "judged"),
        (
            f"Mean squared difference of a critic from the exact value, unbiased and so perhaps negative, {_EXACT}. "
            + _JUDGED,
            _BY_STATE,
        ),
        unit="value^2",
    ),
    *interval(
        "mean_squared_error",
        ("agent", "judged"),
        (
            "Mean squared difference of a critic from the one return that each stream itself had from the state that "
            "was restarted from. The copies have no part in it, so that it checks squared_bias + return_noise, which "
            f"it is on average. {_JUDGED}",
            _BY_STATE,
        ),
        unit="value^2",
    ),
    Variable(
        "calibration_predicted",
        ("agent", "target", "bin"),
        "value",
        "Mean value of the critic as it is in each tenth of held-out pairs, by rising value.",
    ),
    *interval(
        "calibration_target",
        ("agent", "target", "bin"),
        (
            "Mean target of the same pairs.",
            "delete-one-stream jackknife of the bin's mean, its edges held fixed, Student's t.",
        ),
        unit="value",
    ),
    *interval(
        "baseline_pairwise_cosine",
        ("agent", "baseline", "size"),
        (
            "Mean pairwise cosine of estimates by the agent's own lambda and standardization with a baseline: its "
            "critic, the fitted value in the critic's place, or zero: discounted returns in place of advantages, as "
            "they are; mean: the same less their mean, standardized. NaN for optimal, which is no value to bootstrap "
            "from.",
            _JACKKNIFE_ESTIMATE,
        ),
        source=_FIGURE_4,
    ),
    *interval(
        "monte_carlo_pairwise_cosine",
        ("agent", "baseline", "size"),
        (
            f"Mean pairwise cosine of estimates {_COMPLETE}; not divided by a deviation, which would move the mean. "
            f"{_CENTERED} Baseline optimal: fitted with weights |grad log pi|^2, so that single pairs vary least, NaN "
            "for torch modules; what a batch varies is another matter, as pairs of one stream are not independent.",
            _JACKKNIFE_ESTIMATE,
        ),
        source="Greensmith et al. (2004), theorem 8",
    ),
    *interval(
        "variance_ratio",
        ("agent", "baseline"),
        (
            f"Trace of the covariance of estimates {_COMPLETE}, over that with the constant mean return as baseline. "
            f"{_CENTERED}",
            _JACKKNIFE_GROUP,
        ),
    ),
    *interval(
        "delivered_reduction",
        ("agent",),
        (
            "Of the variance that the fitted value takes off estimates by Monte Carlo returns, the share that the "
            "agent's critic takes off; against the constant mean return. Negative where it adds noise. Advantages as "
            "in variance_ratio.",
            RATIO,
        ),
    ),
    *interval(
        "excess_variance",
        ("agent",),
        (
            f"Trace of the covariance of estimates {_COMPLETE}, with the agent's critic, over that with the fitted "
            "value: so many times as many pairs does the critic's imperfection cost, as far as the fitted value is "
            "better. Advantages as in variance_ratio.",
            _JACKKNIFE_GROUP,
        ),
    ),
    *interval(
        "lambda_squared_bias",
        ("agent", "lambda"),
        (
            "Squared distance of the mean estimate by a lambda from the gradient of Monte Carlo returns, over the "
            "latter's squared length; from products of different groups of streams only, so that it may come out "
            "negative. NaN where that length is not known to be positive.",
            "all biases from which the found one is within Student's t times the standard deviation that it would "
            "have: near zero a one-sided bound. Zero to infinity where the length is not known to be positive.",
        ),
    ),
    *interval(
        "lambda_variance",
        ("agent", "lambda"),
        (
            "Trace of the covariance of an estimate by a lambda of one training batch, over the squared length of the "
            "gradient of Monte Carlo returns.",
            RATIO,
        ),
    ),
    *interval(
        "lambda_cosine",
        ("agent", "batches", "lambda"),
        (
            "Cosine of estimates by a lambda, from so many training batches of pairs, to the gradient of Monte Carlo "
            "returns, as bias and variance predict it.",
            RATIO,
        ),
    ),
    Variable(
        "best_lambda",
        ("agent", "batches"),
        "1",
        "The lambda of the sweep with the largest lambda_cosine.",
    ),
    Variable(
        "best_lambda_low",
        ("agent", "batches"),
        "1",
        "Smallest lambda of the sweep that is not clearly worse than the best: the 95% interval of the ratio of their "
        "cosines, jackknifed over groups of streams, reaches 1.",
    ),
    Variable("best_lambda_high", ("agent", "batches"), "1", "Largest such lambda."),
    *interval(
        "lambda_gain",
        ("agent", "batches"),
        (
            "Cosine to the true gradient by the best lambda over that by the agent's own lambda. Chosen on one half "
            "of the groups of streams and measured on the other, both ways: the sum of what both find of the chosen, "
            "over the sum of what they find of the agent's own. A choice is never judged by what it was chosen on. 1 "
            "where both halves choose the agent's own; NaN where the agent's own is not known to point along the true "
            "gradient, which weak signal may do. A verdict complains where the whole interval lies above 1.05.",
            f"the choices held, {RATIO}",
        ),
    ),
]
