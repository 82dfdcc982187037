"""The variables that training logs come to, for claims about how agents end."""

from closerlook.results.variables import Variable

VARIABLES: list[Variable] = [
    Variable(
        "final_reward",
        ("agent",),
        "reward",
        "Mean over the last ten iterations of training of the mean undiscounted return of the episodes that ended in "
        "each, iterations in which none ended left out.",
        "Ilyas et al. (2020), Figure 8",
    ),
    Variable(
        "training_reward",
        ("agent",),
        "reward",
        "Mean over all iterations of training of the same: the area under the curve, per step.",
        "Ilyas et al. (2020), Figure 8",
    ),
]
