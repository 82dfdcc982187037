"""The variables of the study of sample regimes: pairs of an iteration against learning rate."""

from closerlook.results.variables import Variable, interval

_EACH = ("batch_pairs", "learning_rate", "regime_seed")
_MEAN = ("batch_pairs", "learning_rate")
_FIGURE = "Ilyas et al. (2020), an earlier version on OpenReview, Figure 3"
_T = "Student's t over seeds."
_JACKKNIFE = "jackknife over seeds: without each the others choose anew."
_WITHOUT = "of the other seeds by themselves, which choose anew: the replicates of its jackknife."
_EPISODES = "mean undiscounted return of the episodes that finished in training"

VARIABLES: list[Variable] = [
    Variable(
        "regime_reward",
        (*_EACH, "window"),
        "reward",
        f"In windows of a twentieth of the steps, or of an iteration of the largest batch if longer: {_EPISODES}.",
    ),
    Variable(
        "regime_final",
        _EACH,
        "reward",
        f"In the last tenth of the steps, two windows, or the last one if there are fewer than twenty: {_EPISODES}.",
        _FIGURE,
    ),
    *interval("regime_final_mean", _MEAN, ("Mean over seeds of regime_final.", _T), unit="reward", source=_FIGURE),
    Variable(
        "regime_peak",
        _EACH,
        "reward",
        f"In as many neighboring windows, where they are best for the other seeds together: {_EPISODES}. No seed "
        "chooses its own, and episodes are pooled as in regime_final, so that noise alone makes no peak. Where "
        "neighboring tenths are nearly as good noise chooses among them, so that it is too low on average, never too "
        "high. NaN for a single seed, or a single window.",
        _FIGURE,
    ),
    *interval(
        "regime_peak_mean", _MEAN, ("Mean over seeds of regime_peak.", _JACKKNIFE), unit="reward", source=_FIGURE
    ),
    Variable("regime_peak_without", _EACH, "reward", f"regime_peak_mean {_WITHOUT}"),
    Variable(
        "regime_decline",
        _EACH,
        "reward",
        "regime_peak less regime_final: what is lost again; as regime_peak, too low on average where curves still "
        "rise, or peak broadly.",
        _FIGURE,
    ),
    *interval(
        "regime_decline_mean", _MEAN, ("Mean over seeds of regime_decline.", _JACKKNIFE), unit="reward", source=_FIGURE
    ),
    Variable("regime_decline_without", _EACH, "reward", f"regime_decline_mean {_WITHOUT}"),
    Variable(
        "regime_cosine",
        _EACH,
        "1",
        "Mean pairwise cosine of gradient estimates, each of one iteration's pairs, half way through training.",
        "Ilyas et al. (2020), Figure 1",
    ),
    *interval("regime_cosine_mean", _MEAN, ("Mean over seeds of regime_cosine.", _T)),
    Variable(
        "regime_best_rate",
        ("batch_pairs", "regime_seed"),
        "1",
        "Learning rate with the highest regime_final; NaN where none is known.",
        _FIGURE,
    ),
    Variable(
        "regime_failed",
        _MEAN,
        "1",
        "1 where training, or the gradient estimates half way, came to what is not finite: whatever is then not known, "
        "of all seeds, is NaN.",
    ),
]
