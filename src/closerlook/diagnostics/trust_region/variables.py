"""The variables of trust regions: `trust_region`."""

from closerlook.diagnostics.common.variables import EXPLORATION
from closerlook.results.variables import CLIP_NULL as _CLIP_NULL
from closerlook.results.variables import CLIP_SOURCE as _CLIP_SOURCE
from closerlook.results.variables import SKEWED, Variable, interval

_APPENDIX = "Ilyas et al. (2020), appendix A.1"
_EACH = ("agent", "repeat")
_ALONG = ("agent", "repeat", "pairs_of", "multiple")
_STATES = {
    "batch": "of the update's own batch",
    "heldout": "of held-out pairs that the policy before it sampled",
}
_KINDS = {"mean_{}": "Mean", "max_{}": "Largest", "{}_p99": "99th percentile of the"}
_WHOLE = "at the whole step that the update made"
_CLIMBED = "the surrogate that the algorithm climbs (clipped for PPO; standardized advantages where the agent does so)"
_RETURNS = (
    "in units of episode return: its mean over pairs, in true reward (times the divisor of the agent's rewards), times "
    "the mean length of an episode. To first order, and by discounted advantages."
)
_PAIRED = "Student's t over differences of streams that share their draws."
_LARGEST = (
    f"Largest ratio of new to old probability over the batch's pairs, {_WHOLE}. The interval of its mean covers 87% "
    "only for steps so long that nearly all ratios are clipped."
)
_SHARE = (
    "Student's t of their mean's log-odds, or Clopper and Pearson's where all are alike or all but one at the same end"
)
_AVERAGES = (
    f"{SKEWED} (divergences, ratios, norms, rises, gains); of shares {_SHARE}; Student's t alone of what is neither."
)
_CHANGES = (
    "`mean_kl`, `max_kl`, `kl_p99`: mean, largest and 99th percentile over states of KL(old || new), nats; "
    "`_reverse_`: of KL(new || old). `max_ratio`: largest ratio of new to old probability over pairs; "
    "`clip_fraction`: share of pairs whose ratio is further from 1 than epsilon; `clip_null`: what chance makes of the "
    "clipped surrogate. Pairs `batch`: the update's own; `heldout`: others."
)


def _divergences() -> list[Variable]:
    return [
        Variable(
            f"{kind.format(f'{reverse}kl')}_{pairs}",
            _EACH,
            "nats",
            f"{words} KL({'new || old' if reverse else 'old || new'}) over the states {where}, {_WHOLE}.",
            _APPENDIX,
        )
        for pairs, where in _STATES.items()
        for reverse in ("", "reverse_")
        for kind, words in _KINDS.items()
    ]


def _suggestion(name: str, setting: str, unit: str, how: str) -> list[Variable]:
    return interval(
        f"suggested_{name}",
        ("agent",),
        (
            f"{setting} that gives about best_multiple times the step: the agent's own, changed {how}; 0 where no step "
            "is best, NaN where the algorithm has no such setting. To first order: an update is not linear in it.",
            "of the ends of best_multiple.",
        ),
        unit=unit,
    )


VARIABLES: list[Variable] = [
    *EXPLORATION,
    *_divergences(),
    Variable("max_ratio", _EACH, "1", _LARGEST),
    Variable("max_ratio_heldout", _EACH, "1", "Largest ratio of new to old probability over held-out pairs."),
    Variable(
        "clip_fraction",
        _EACH,
        "1",
        "Share of the batch's pairs whose ratio is further from 1 than epsilon, 0.2 where nothing is clipped; NaN "
        "where a ratio is.",
        "Schulman et al. (2017)",
    ),
    Variable(
        "clip_fraction_heldout", _EACH, "1", "Share of held-out pairs whose ratio is further from 1 than epsilon."
    ),
    Variable(
        "quadratic_kl",
        _EACH,
        "nats",
        "Quadratic model of mean_kl_batch: half the step's square under the Fisher matrix of all the batch's states.",
        _APPENDIX,
    ),
    Variable("quadratic_kl_heldout", _EACH, "nats", "Quadratic model of mean_kl_heldout, by the held-out states."),
    Variable(
        "quadratic_kl_own",
        _EACH,
        "nats",
        "Quadratic model of the mean KL by the states that the update itself took its Fisher matrix from; NaN for "
        "PPO and vanilla.",
    ),
    Variable(
        "predicted_improvement",
        _EACH,
        "reward",
        f"Gradient of the plain surrogate on the batch times the step, {_RETURNS}",
    ),
    Variable(
        "predicted_improvement_heldout",
        _EACH,
        "reward",
        f"Gradient of the plain surrogate on held-out pairs times the step, {_RETURNS}",
    ),
    Variable(
        "surrogate_improvement", _EACH, "reward", f"Rise of the plain surrogate on the batch over the step, {_RETURNS}"
    ),
    Variable(
        "surrogate_improvement_heldout",
        _EACH,
        "reward",
        f"Rise of the plain surrogate on held-out pairs over the step, {_RETURNS}",
    ),
    *interval(
        "true_improvement",
        _EACH,
        ("Gain in mean true, undiscounted episode return over the step.", _PAIRED),
        unit="reward",
    ),
    Variable("true_reward_before", _EACH, "reward", "Mean true, undiscounted episode return before the step."),
    Variable(
        "mean_episode_length", _EACH, "steps", "Mean steps of the episodes that true_reward_before is the mean of."
    ),
    Variable(
        "return_episodes",
        _EACH,
        "episodes",
        "Episodes that true rewards of the agent and of multiples of the step are means of, at the one that has "
        "fewest; NaN where none were asked for, or a policy explodes.",
    ),
    Variable("surrogate_rise", _EACH, "1", f"Rise of {_CLIMBED} on the batch, {_WHOLE}, in its own unit."),
    Variable(
        "surrogate_rise_heldout",
        _EACH,
        "1",
        f"Rise of {_CLIMBED} on held-out pairs, advantages standardized over those.",
    ),
    Variable(
        "normalized_rise",
        _EACH,
        "1",
        f"Rise of the unclipped surrogate of standardized advantages on the batch, whichever is climbed, {_WHOLE}.",
    ),
    Variable(
        "normalized_rise_heldout",
        _EACH,
        "1",
        "Rise of the unclipped surrogate on held-out pairs, advantages standardized over those.",
    ),
    *interval(
        "mean_heldout_improvement_ratio",
        ("agent",),
        (
            "Mean over updates of normalized_rise_heldout over that of normalized_rise: 1 where nothing is "
            "overfitting, 0 for steps that have nothing to do with the gradient; NaN where it does not rise on the "
            "batch.",
            "delete-one-update jackknife of the ratio, Student's t.",
        ),
    ),
    Variable("clip_null", _EACH, "1", f"On the batch, {_WHOLE}, {_CLIP_NULL}", _CLIP_SOURCE),
    Variable("clip_null_heldout", _EACH, "1", f"On held-out pairs, {_CLIP_NULL}", _CLIP_SOURCE),
    Variable("surrogate_kind", ("agent",), "1", "Place along surrogate_name of the one that the algorithm climbs."),
    Variable("update_norm", _EACH, "1", "Euclidean norm of the step; NaN where the update ended not finite."),
    Variable(
        "policy_norm_share",
        _EACH,
        "1",
        "Norm of the policy's gradient as a share of that of policy and critic together, which is what is bounded; "
        "mean over minibatches; of updates of both together alone.",
    ),
    Variable(
        "gradient_scale",
        _EACH,
        "1",
        "What gradients of policy and critic were multiplied by to keep the bound, mean over minibatches; of updates "
        "of both together alone.",
    ),
    Variable("step_fraction", _EACH, "1", "Step taken as a share of the full one after the line search; NaN for PPO."),
    Variable("line_search_failed", _EACH, "1", "1 where the line search accepted nothing; NaN for PPO."),
    Variable(
        "cg_residual",
        _EACH,
        "1",
        "What conjugate gradient left of the gradient, as a share of its norm, under the damped Fisher matrix of the "
        "states it was given; NaN for PPO.",
    ),
    Variable("cg_steps", _EACH, "1", "Steps of conjugate gradient taken; NaN for PPO."),
    Variable(
        "natural_residual",
        _EACH,
        "1",
        "Sine of the angle between the gradient and the step times the damped Fisher matrix of all the batch's states: "
        "0 for the natural gradient of the whole batch, solved to the end, of whatever length.",
    ),
    Variable(
        "natural_efficiency",
        _EACH,
        "1",
        "Gain that the gradient predicts of the step, as a share of that of the natural gradient of the whole batch, "
        "solved to the end (conjugate gradient to a residual of 1e-5, at most 200 steps), of the same length under the "
        "damped Fisher matrix.",
        "Kakade (2001)",
    ),
    Variable("kl_bound", ("agent",), "nats", "Bound on the mean KL that the update is scaled to; NaN for PPO."),
    Variable("clip_epsilon", ("agent",), "1", "PPO's epsilon; NaN for others."),
    Variable(
        "policy_learning_rate", ("agent",), "1", "PPO's learning rate of the policy at this iteration; NaN for others."
    ),
    Variable("zero_updates", ("agent",), "updates", "Updates that did not move the policy."),
    Variable("failed_updates", ("agent",), "updates", "Updates that ended with parameters that are not finite."),
    Variable(
        "constant_advantages", ("agent",), "updates", "Updates whose advantages were all equal, within each minibatch."
    ),
    Variable(
        "overflown_advantages", ("agent",), "updates", "Updates whose advantages were too large for single precision."
    ),
    Variable(
        "action_std_share",
        ("agent",),
        "1",
        "Smallest standard deviation of an action component as a share of its range, of 2 before actions are "
        "squashed; NaN where it has no bounds.",
    ),
    Variable(
        "entropy_share",
        ("agent",),
        "1",
        "Mean entropy of discrete actions at the states looked at, as a share of the largest; NaN for what is none.",
    ),
    Variable(
        "multiple_change",
        ("agent", "repeat", "pairs_of", "change", "multiple"),
        "1",
        f"At multiples of the step: {_CHANGES}",
    ),
    Variable("multiple_surrogate_rise", _ALONG, "1", "surrogate_rise at multiples of the step."),
    Variable("multiple_normalized_rise", _ALONG, "1", "normalized_rise at multiples of the step."),
    *interval(
        "multiple_gain",
        ("agent", "repeat", "multiple"),
        ("Gain in mean true episode return at multiples of the step.", _PAIRED),
        unit="reward",
    ),
    *interval(
        "mean_multiple_gain",
        ("agent", "multiple"),
        (
            "Mean over updates of multiple_gain: what a step of that length is worth, whatever its batch. NaN where "
            "one is not known: see unknown_gains.",
            f"{SKEWED}, delete-one-update jackknife.",
        ),
        unit="reward",
    ),
    Variable(
        "unknown_gains",
        ("agent", "multiple"),
        "updates",
        "Updates that ended finite, and whose reward at that multiple is not known: the policy, or the simulation, was "
        "not finite there, or an episode was given up before its end.",
    ),
    *interval(
        "best_multiple",
        ("agent",),
        (
            "Multiple of the step, 0 among them, at which the mean gain over updates is highest, of those known.",
            "multiples not significantly below any other (one-sided t over updates, Bonferroni): lowest and highest.",
        ),
        source="Hsu (1981)",
    ),
    Variable(
        "surrogate_best_multiple",
        ("agent", "pairs_of"),
        "1",
        "Multiple at which the mean rise of the surrogate that is climbed is highest; 0 where it rises nowhere.",
    ),
    Variable(
        "bound_multiple",
        ("agent",),
        "1",
        "Multiple at which the mean KL on held-out states meets kl_bound, between those measured; NaN for PPO.",
    ),
    *_suggestion("learning_rate", "PPO's learning rate of the policy at this iteration", "1", "with the multiple"),
    *_suggestion("clip_epsilon", "PPO's epsilon", "1", "with the multiple"),
    *_suggestion("max_kl", "The bound on the mean KL", "nats", "with the square of the multiple"),
    Variable(
        "model_multiple",
        ("agent",),
        "1",
        "Shortest multiple at which the quadratic model, quadratic_kl times its square, is off from the mean KL on the "
        "batch by a factor of 1.25 either way; means over updates, interpolated. The shortest measured where it is off "
        "there already, or where an update's is infinite; infinite where it holds at all that were.",
        _APPENDIX,
    ),
    *interval(
        "fraction_worse",
        ("agent",),
        (
            "Share of updates whose measured true_improvement is below zero. Noise in the gains pulls it to one half. "
            "Missing where one is not known: see unknown_gains.",
            "exact binomial over updates.",
        ),
        source="Clopper and Pearson (1934)",
    ),
    *interval(
        "agreement_along_update",
        ("agent", "pairs_of", "surrogate_name"),
        (
            "Share of the multiples of the step at which a surrogate and the true reward move the same way, both from "
            "their value at the agent; mean over updates. Noise in the gains pulls it to one half. Missing where a "
            "gain is not known: see unknown_gains.",
            f"of updates' shares {_SHARE}.",
        ),
        source="Ilyas et al. (2020), section 2.3",
    ),
    Variable(
        "stage_change",
        ("agent", "repeat", "pairs_of", "change", "stage"),
        "1",
        f"After so many minibatches of PPO's update: {_CHANGES}",
        _APPENDIX,
    ),
    Variable(
        "stage_surrogate_rise",
        ("agent", "repeat", "pairs_of", "stage"),
        "1",
        "surrogate_rise after so many minibatches.",
    ),
    Variable(
        "stage_normalized_rise",
        ("agent", "repeat", "pairs_of", "stage"),
        "1",
        "normalized_rise after so many minibatches.",
    ),
    *interval(
        "average",
        ("agent", "quantity"),
        (
            "Mean over updates of the variable of that name; of true_improvement missing where one is not known.",
            _AVERAGES,
        ),
    ),
]
