"""Claims: read, and judged by their rules."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from closerlook.studies.claims import Claim, load_claims
from closerlook.studies.found import Found
from closerlook.studies.judging import holm, judge
from closerlook.studies.judging import judged as judge_all
from closerlook.studies.relations import rank_relation
from closerlook.studies.schema import every_variable
from closerlook.studies.training_rewards import final_rewards


def dataset(cosines: np.ndarray) -> xr.Dataset:
    """Cosines (iteration, seed, size) of iterations 0, 150, 450 and sizes 128, 2048."""
    iterations, seeds, _ = cosines.shape
    return xr.Dataset(
        {
            "pairwise_cosine": (("agent", "size"), cosines.reshape(iterations * seeds, 2)),
            "trajectories": ("agent", np.repeat([64, 8, 4], seeds)),
        },
        coords={
            "size": [128, 2048],
            "iteration": ("agent", np.repeat([0, 150, 450], seeds)),
            "agent_seed": ("agent", np.tile(np.arange(seeds), iterations)),
        },
    )


DRAWS = np.random.default_rng(0).normal(0, 0.01, (3, 5, 2))
FALLING = dataset(np.array([0.6, 0.1, 0.05])[:, None, None] + DRAWS)
FLAT = dataset(np.full((3, 5, 2), 0.3) + 5 * DRAWS)
CLAIM = Claim("c", "It falls.", "us", "pairwise_cosine", "change", (0, 450), "below", 0.0, 2048)


def test_every_claim_that_comes_along_means_something():
    claims = load_claims()
    assert len({claim.name for claim in claims}) == len({claim.statement for claim in claims}) == len(claims) >= 10
    for claim in claims:
        assert claim.variable in every_variable()
        assert claim.statistic in ("level", "median", "change", "contrast", "fraction", "study", "relation")
        assert claim.rule in ("below", "above")
        assert len(claim.iterations) == 2 or claim.statistic != "change"
        assert 2 in (len(claim.tasks), len(claim.algorithms)) or claim.statistic != "contrast"
        assert (len(claim.between) == 2) == (claim.statistic == "fraction")
        assert claim.written >= "2026-11-24"
        assert bool(claim.beside) == (claim.statistic == "relation")
        assert claim.beside.get("variable", claim.variable) in every_variable()
        assert set(claim.algorithms) <= {"ppo", "trpo"}
        assert claim.statement.endswith(".")
        assert "2020" in claim.source or claim.source.startswith("ours")
        for place in ({}, *claim.against, *claim.between):
            variable = every_variable()[place.get("variable", claim.variable)]
            assert {*claim.where, *place} - {"variable"} <= {*variable.dims, *claim.where}


def test_a_change_is_judged_by_the_paired_interval():
    (judged,) = judge(CLAIM, {("hopper", "ppo"): FALLING})
    differences = (0.05 + DRAWS[2, :, 1]) - (0.6 + DRAWS[0, :, 1])
    interval = stats.ttest_1samp(differences, 0).confidence_interval()
    assert (judged.value, judged.low, judged.high) == pytest.approx((differences.mean(), *interval))
    assert (judged.mark, judged.seeds, judged.where) == ("holds", 5, "hopper, ppo, iterations 0 to 450")
    (judged,) = judge(replace(CLAIM, rule="above"), {("hopper", "ppo"): FALLING})
    assert judged.mark == "does not hold"
    (judged,) = judge(CLAIM, {("hopper", "ppo"): FLAT})
    assert judged.mark == "not enough data"


def test_a_change_pairs_seeds_whatever_their_order():
    shuffled = FALLING.isel(agent=np.random.default_rng(1).permutation(15))
    assert judge(CLAIM, {("hopper", "ppo"): shuffled})[0].low == pytest.approx(
        judge(CLAIM, {("hopper", "ppo"): FALLING})[0].low
    )


def test_a_level_is_the_mean_over_seeds_of_their_means_over_iterations():
    level = replace(CLAIM, statistic="level", iterations=(150, 300, 450), bound=0.3)
    (judged,) = judge(level, {("hopper", "ppo"): FALLING})
    assert judged.where == "hopper, ppo, mean of iterations 150, 450"  # those that were measured
    means = (0.1 + DRAWS[1, :, 1] + 0.05 + DRAWS[2, :, 1]) / 2
    test = stats.ttest_1samp(means, 0.3)
    assert (judged.value, judged.low, judged.high) == pytest.approx((means.mean(), *test.confidence_interval()))
    assert (judged.p, judged.seeds, judged.mark) == (pytest.approx(test.pvalue), 5, "holds")
    (alone,) = judge(replace(level, iterations=(150,)), {("hopper", "ppo"): FALLING})
    assert alone.where == "hopper, ppo, iteration 150"
    difference = replace(level, size=(128, 2048), rule="above", bound=-0.2)
    assert judge(difference, {("hopper", "ppo"): FALLING})[0].mark == "holds"
    assert judge(replace(level, size=512), {("hopper", "ppo"): FALLING}) == []
    assert judge(replace(level, variable="update_pairwise_cosine"), {("hopper", "ppo"): FALLING}) == []


def test_a_seed_that_lacks_a_number_at_one_iteration_has_none():
    level = replace(CLAIM, statistic="level", iterations=(150, 450), bound=0.3)
    lost = FALLING.copy(deep=True)
    lost["pairwise_cosine"][14] = np.nan  # seed 4 at 450
    (judged,) = judge(level, {("hopper", "ppo"): lost})
    assert (judged.seeds, judged.mark) == (4, "not enough data")
    (judged,) = judge(level, {("hopper", "ppo"): lost.isel(agent=slice(0, 14))})
    assert (judged.seeds, judged.mark) == (4, "not enough data")


def test_of_two_sizes_a_logarithm_is_of_their_ratio():
    ratio = replace(CLAIM, statistic="level", iterations=(150,), size=(128, 2048), log=True)
    doubled = FALLING.copy(deep=True)
    doubled["pairwise_cosine"][:, 1] = 2 * doubled["pairwise_cosine"][:, 0]
    (judged,) = judge(ratio, {("hopper", "ppo"): doubled})
    assert judged.value == pytest.approx(np.log(2))
    assert "2,048 over 128 pairs" in ratio.rule_in_words


def test_a_median_has_the_interval_of_the_sign_test():
    claim = replace(CLAIM, statistic="median", iterations=(450,), bound=0.3)
    (judged,) = judge(claim, {("hopper", "ppo"): FALLING})
    values = np.sort(FALLING["pairwise_cosine"].sel(size=2048).values[FALLING["iteration"].values == 450])
    assert (judged.value, judged.seeds, judged.mark) == (np.median(values), 5, "not enough data")
    assert np.isnan([judged.low, judged.high]).all()
    gains = np.linspace(0, 1, 10) ** 8
    ten = dataset(np.broadcast_to(gains[:, None], (3, 10, 2)))
    (judged,) = judge(claim, {("hopper", "ppo"): ten})
    assert (judged.value, judged.low, judged.high) == (np.median(gains), gains[1], gains[8])
    assert (judged.seeds, judged.mark) == (10, "not enough data")
    assert judged.p == pytest.approx(stats.binomtest(int((gains > 0.3).sum()), 10).pvalue)
    # fewer than two of ten fair coins are heads with 1.1%: the interval covers with 97.9%
    assert judge(replace(claim, bound=0.4), {("hopper", "ppo"): ten})[0].mark == "holds"


def test_a_contrast_compares_tasks_of_one_algorithm():
    contrast = replace(CLAIM, statistic="contrast", tasks=("hopper", "walker2d"), iterations=(0, 450), rule="above")
    (judged,) = judge(contrast, {("hopper", "ppo"): FLAT, ("walker2d", "ppo"): FALLING, ("walker2d", "trpo"): FLAT})
    left = 0.3 + 5 * (DRAWS[0, :, 1] + DRAWS[2, :, 1]) / 2
    right = (0.6 + DRAWS[0, :, 1] + 0.05 + DRAWS[2, :, 1]) / 2
    test = stats.ttest_ind(left, right, equal_var=False)
    assert (judged.low, judged.high) == pytest.approx(tuple(test.confidence_interval()))
    assert judged.p == pytest.approx(test.pvalue)
    assert judged.where == "hopper against walker2d, ppo, mean of iterations 0, 450"


def test_a_contrast_may_be_of_two_algorithms_on_each_task():
    contrast = replace(CLAIM, statistic="contrast", algorithms=("ppo", "trpo"), iterations=(450,), rule="above")
    places = {("hopper", "ppo"): FLAT, ("hopper", "trpo"): FALLING, ("walker2d", "trpo"): FLAT}
    (judged,) = judge(contrast, places)
    assert (judged.where, judged.mark) == ("hopper, ppo against trpo, iteration 450", "holds")
    assert judge(replace(contrast, algorithms=("trpo", "ppo")), places)[0].value == pytest.approx(-judged.value)


def three_baselines(rng: np.random.Generator, seeds: int, zero=0.1, critic=0.2, fitted=0.4, noise=0.03) -> xr.Dataset:
    """Cosines of three baselines by seed; what seeds differ in is partly common."""
    means = np.array([zero, critic, fitted]) + rng.normal(0, noise, (seeds, 1)) + rng.normal(0, noise, (seeds, 3))
    return xr.Dataset(
        {"baseline_pairwise_cosine": (("agent", "baseline"), means)},
        coords={
            "baseline": ["zero", "critic", "fitted"],
            "iteration": ("agent", [150] * seeds),
            "agent_seed": ("agent", np.arange(seeds)),
        },
    )


FRACTION = Claim(
    "f", "Near.", "us", "baseline_pairwise_cosine", "fraction", (150,), "below", 0.5,
    where={"baseline": "critic"}, between=({"baseline": "zero"}, {"baseline": "fitted"}),
)  # fmt: skip


def test_a_fraction_is_how_far_the_mean_is_on_the_way():
    data = three_baselines(np.random.default_rng(0), 10)
    (judged,) = judge(FRACTION, {("hopper", "ppo"): data})
    zero, critic, fitted = data["baseline_pairwise_cosine"].values.T
    slow = [
        (np.delete(critic, k).mean() - np.delete(zero, k).mean())
        / (np.delete(fitted, k).mean() - np.delete(zero, k).mean())
        for k in range(10)
    ]
    value = (critic.mean() - zero.mean()) / (fitted.mean() - zero.mean())
    reach = stats.t.ppf(0.975, 9) * np.sqrt(9 / 10 * np.square(slow - np.mean(slow)).sum())
    assert (judged.value, judged.high - judged.value) == pytest.approx((value, reach))
    assert (judged.mark, judged.seeds) == ("holds", 10)
    turned = replace(FRACTION, between=FRACTION.between[::-1], rule="above")
    assert judge(turned, {("hopper", "ppo"): data})[0].value == pytest.approx(1 - value)


def test_a_fraction_has_no_number_where_the_ends_may_be_the_same():
    for zero, seeds in ((0.4, 10), (0.1, 4)):
        data = three_baselines(np.random.default_rng(1), seeds, zero=zero)
        (judged,) = judge(FRACTION, {("hopper", "ppo"): data})
        assert (np.isnan(judged.value), judged.mark, judged.seeds) == (True, "not enough data", seeds)


def test_the_interval_of_a_fraction_covers():
    rng, hits = np.random.default_rng(2), []
    for _ in range(300):
        (judged,) = judge(FRACTION, {("hopper", "ppo"): three_baselines(rng, 10)})
        # no number is an interval that holds everything
        hits.append(not judged.low > 1 / 3 and not judged.high < 1 / 3)
    assert 0.925 <= np.mean(hits) <= 0.99


def test_holm_takes_all_rows_into_account():
    p = [0.04, 0.001, np.nan, 0.01, 0.03]
    # sorted 0.001 0.01 0.03 0.04, times 4 3 2 1, none below the one before
    assert holm(p) == pytest.approx([0.06, 0.004, np.nan, 0.03, 0.06], nan_ok=True)
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_rows_of_one_call_are_one_family():
    level = replace(CLAIM, statistic="level", iterations=(450,), bound=0.3)
    found = [Found("gradients", task, "ppo", data, None, Path()) for task, data in (("a", FALLING), ("b", FLAT))]
    rows = judge_all([level, replace(level, name="other", variable="none")], found)
    assert [row["task"] for row in rows] == ["a", "b", None]
    assert [row["p_holm"] for row in rows] == [*holm([rows[0]["p"], rows[1]["p"], np.nan])[:2], None]
    assert rows[0]["p_holm"] == pytest.approx(2 * rows[0]["p"])


def test_logarithms_and_few_seeds():
    claim = replace(CLAIM, variable="trajectories", size=None, log=True)
    (judged,) = judge(claim, {("hopper", "ppo"): FALLING})
    assert judged.value == pytest.approx(np.log(4 / 64))
    for seeds in (1, 2, 4):
        few = FALLING.isel(agent=FALLING["agent_seed"].values < seeds)
        assert judge(CLAIM, {("hopper", "ppo"): few})[0].mark == "not enough data"


def test_a_claim_is_not_judged_on_the_seeds_that_happen_to_have_a_number():
    seeds = DRAWS.reshape(3, 10)[..., None] + np.array([0.6, 0.1, 0.05])[:, None, None]
    data = dataset(np.concatenate([seeds, seeds], axis=2))
    level = replace(CLAIM, statistic="level", iterations=(450,), bound=0.3)
    contrast = replace(level, statistic="contrast", tasks=("hopper", "walker2d"))
    for lost, mark in ((1, "holds"), (2, "not enough data")):
        missing = data.copy(deep=True)
        missing["pairwise_cosine"][:lost] = np.nan
        missing["pairwise_cosine"][20 : 20 + lost] = np.nan
        for claim in (CLAIM, level, contrast):
            (judged,) = judge(claim, {("hopper", "ppo"): missing, ("walker2d", "ppo"): missing + 1})[:1]
            assert (judged.seeds, judged.mark) == (10 - lost, mark)
    nothing = data.assign(pairwise_cosine=data["pairwise_cosine"] * np.nan)
    (judged,) = judge(contrast, {("hopper", "ppo"): nothing, ("walker2d", "ppo"): data})
    assert (judged.seeds, judged.mark, np.isnan(judged.value)) == (0, "not enough data", True)
    (judged,) = judge(level, {("hopper", "ppo"): nothing})
    assert (judged.seeds, judged.mark, np.isnan(judged.value)) == (0, "not enough data", True)


def two_baselines(better: np.ndarray, worse: np.ndarray) -> xr.Dataset:
    """Cosines of two baselines at two sizes, by seed, at iteration 150."""
    cosines = np.stack([np.stack([values, values / 2], axis=1) for values in (better, worse)], axis=1)
    return xr.Dataset(
        {"baseline_pairwise_cosine": (("agent", "baseline", "size"), cosines), "other": ("agent", better)},
        coords={
            "baseline": ["fitted", "critic"],
            "size": [128, 2048],
            "iteration": ("agent", [150] * len(better)),
            "agent_seed": ("agent", np.arange(len(better))),
        },
    )


@pytest.mark.parametrize(
    ("against", "expected"),
    [
        (({"baseline": "critic"},), 0.2 - 0.05),
        (({"baseline": "critic"}, {"baseline": "fitted"}), 0.2 - (0.2 + 0.05) / 2),
        (({"variable": "other"},), 0.2 - 0.4),
        (({"baseline": "none such"},), None),
    ],
)
def test_a_claim_may_be_of_a_difference_between_places(against, expected):
    data = two_baselines(0.4 + DRAWS[0, :, 0], 0.1 + DRAWS[0, :, 0])
    claim = Claim(
        "d", "So.", "us", "baseline_pairwise_cosine", "level", (150,), "above", 0.0, 2048,
        where={"baseline": "fitted"}, against=against,
    )  # fmt: skip
    found = judge(claim, {("hopper", "ppo"): data})
    assert [one.value for one in found] == ([] if expected is None else [pytest.approx(expected, abs=0.02)])


def test_a_log_of_a_difference_is_a_ratio():
    data = two_baselines(np.full(3, 0.4), np.full(3, 0.1))
    claim = Claim(
        "r", "So.", "us", "baseline_pairwise_cosine", "level", (150,), "above", 0.0, 2048,
        log=True, where={"baseline": "fitted"}, against=({"baseline": "critic"},),
    )  # fmt: skip
    (found,) = judge(claim, {("hopper", "ppo"): data})
    assert found.value == pytest.approx(np.log(4))


def test_a_single_agent_is_judged_by_the_interval_of_its_own():
    agents = xr.Dataset(
        {
            "full_update_realized_improvement": ("agent", [3.0, 1.0, -4.0]),
            "full_update_realized_improvement_low": ("agent", [2.0, -1.0, -5.0]),
            "full_update_realized_improvement_high": ("agent", [4.0, 3.0, -3.0]),
            "full_update_predicted_improvement": (("agent", "pairs_of"), [[10.0, 0.0], [2.5, 0.0], [-9.0, 0.0]]),
        },
        coords={
            "pairs_of": ["batch", "heldout"],
            "iteration": ("agent", [0, 150, 150]),
            "agent_seed": ("agent", [0, 0, 1]),
        },
    )
    claim = Claim(
        "c",
        "It gains.",
        "ours",
        "full_update_realized_improvement",
        "single",
        (0, 150),
        "above",
        0.0,
        tasks=("hopper few",),
    )
    judged = judge(claim, {("hopper few", "ppo"): agents, ("hopper many", "ppo"): agents})
    assert {one.mark for one in judged} == {"not enough data"}  # an illustration: one agent, one batch
    assert [(one.value, one.low) for one in judged] == [(3.0, 2.0), (1.0, -1.0), (-4.0, -5.0)]
    assert np.isnan([one.p for one in judged]).all()
    assert judged[2].where == "hopper few, ppo, iteration 150, seed 1"
    less = replace(
        claim, against=({"variable": "full_update_predicted_improvement", "pairs_of": "batch"},), rule="below"
    )
    judged = judge(less, {("hopper few", "ppo"): agents})
    assert [(one.value, one.low, one.high) for one in judged][1] == (-1.5, -3.5, 0.5)
    alone = {("hopper few", "ppo"): agents.isel(agent=2)}
    assert [(one.mark, one.where) for one in judge(claim, alone)] == [(judged[2].mark, judged[2].where)]
    assert judge(replace(claim, statistic="level", iterations=(150,)), alone)[0].value == -4.0
    assert not judge(replace(claim, algorithms=("trpo",)), {("hopper few", "ppo"): agents})
    assert not judge(replace(claim, where={"region": "plane"}, variable="unknown"), {("hopper few", "ppo"): agents})


def test_a_study_is_judged_over_its_seeds():
    rates = np.array([[[1e-4, 1e-4, 2e-4]], [[1e-4, 5e-5, 5e-5]]])[:, 0]
    final = np.arange(12.0).reshape(2, 2, 3)
    final[0] += [-0.5, 0.0, 0.5]
    study = xr.Dataset(
        {
            "regime_best_rate": (("batch_pairs", "regime_seed"), rates),
            "regime_final": (("batch_pairs", "learning_rate", "regime_seed"), final),
        },
        coords={"batch_pairs": [2048, 16384], "learning_rate": [1e-4, 2e-4]},
    )
    where = {"where": {"batch_pairs": 2048}, "against": ({"batch_pairs": 16384},)}
    claim = Claim("c", "Higher.", "ours", "regime_best_rate", "study", (), "above", 0.0, log=True, **where)
    (judged,) = judge(claim, {("hopper", "ppo"): study})
    differences = np.log([1.0, 2.0, 4.0])
    interval = stats.ttest_1samp(differences, 0).confidence_interval()
    assert (judged.value, judged.low, judged.high) == pytest.approx((differences.mean(), *interval))
    (judged,) = judge(replace(claim, variable="regime_final", log=False), {("hopper", "ppo"): study})
    assert judged.value == -6.0
    assert not judge(replace(claim, where={"batch_pairs": 4}), {("hopper", "ppo"): study})
    assert not judge(replace(claim, variable="none"), {("hopper", "ppo"): study})


def test_a_study_in_which_a_rate_failed_is_not_judged_and_says_so():
    final = np.arange(12.0).reshape(2, 2, 3)
    final[1, 1] = np.nan
    study = xr.Dataset(
        {"regime_final": (("batch_pairs", "learning_rate", "regime_seed"), final)},
        coords={"batch_pairs": [2048, 16384], "learning_rate": [1e-4, 2e-4]},
    )
    where = {"where": {"batch_pairs": 2048}, "against": ({"batch_pairs": 16384},)}
    claim = Claim("c", "Higher.", "ours", "regime_final", "study", (), "above", 0.0, **where)
    (judged,) = judge(claim, {("hopper", "ppo"): study})
    assert (judged.mark, judged.seeds, np.isnan(judged.value)) == ("not enough data", 0, True)
    assert judged.where == "hopper, ppo, not known everywhere"
    (judged,) = judge(replace(claim, against=()), {("hopper", "ppo"): study})
    assert (judged.value, judged.seeds) == (2.5, 3)


def test_seeds_of_a_study_that_choose_for_one_another_are_jackknifed():
    own, without = np.array([[[3.0, 1.0, 2.0], [5.0, 4.0, 3.0]]]), np.array([[[1.0, 3.0, 2.0], [4.0, 4.0, 4.0]]])
    dims = ("batch_pairs", "learning_rate", "regime_seed")
    study = xr.Dataset(
        {"regime_decline": (dims, own), "regime_decline_without": (dims, without)},
        coords={"batch_pairs": [16384], "learning_rate": [1e-4, 2e-4]},
    )
    claim = Claim("c", "Falls.", "ours", "regime_decline", "study", (), "above", 0.0, where={"batch_pairs": 16384})
    (judged,) = judge(claim, {("hopper", "ppo"): study})
    spread = np.sqrt(2 / 3 * ((2.5 - 3.0) ** 2 + (3.5 - 3.0) ** 2))
    assert judged.value == pytest.approx(3.0)
    assert judged.high - judged.value == pytest.approx(stats.t.ppf(0.975, 2) * spread)
    study["regime_decline_without"][0, 0, 0] = np.nan
    assert judge(claim, {("hopper", "ppo"): study})[0].mark == "not enough data"


@pytest.mark.parametrize(("seeds", "mark"), [(4, "not enough data"), (5, "not enough data"), (6, "holds")])
def test_seeds_that_jump_by_the_same_step_of_a_grid_decide_by_their_signs(seeds, mark):
    rates = np.array([1e-4, 2e-4])[:, None] * np.resize([1.0, 2.0], seeds)
    study = xr.Dataset({"regime_best_rate": (("batch_pairs", "regime_seed"), rates)}, {"batch_pairs": [16384, 2048]})
    where = {"where": {"batch_pairs": 2048}, "against": ({"batch_pairs": 16384},)}
    claim = Claim("c", "Higher.", "ours", "regime_best_rate", "study", (), "above", 0.0, log=True, **where)
    (judged,) = judge(claim, {("hopper", "ppo"): study})
    assert (judged.value, judged.mark) == (pytest.approx(np.log(2)), mark)


RELATION = replace(CLAIM, statistic="relation", iterations=(0, 150), rule="above", beside={"variable": "trajectories"})


def test_a_relation_pairs_the_seeds_of_two_measurements():
    other = FLAT.assign(trajectories=("agent", FLAT["pairwise_cosine"].values[:, 1] ** 3)).isel(
        agent=slice(None, None, -1)
    )
    place = ("hopper", "ppo")
    (judged,) = judge(RELATION, {place: FLAT}, {place: other})
    # of five seeds 1 stands for 0.95, half way to 0.9: z = 1.83, its error sqrt((1 + 0.95^2 / 2) / 2) = 0.852
    assert (judged.value, judged.high) == pytest.approx((1.0, 1.0))
    assert judged.low == pytest.approx(np.tanh(np.arctanh(0.95) - 1.959964 * 0.851836), rel=1e-4)
    assert judged.p == pytest.approx(2 * stats.norm.sf(np.arctanh(0.95) / 0.851836), rel=1e-3)
    assert judged.mark == "holds"
    for bound in (0.5, 1.0):
        (against,) = judge(replace(RELATION, bound=bound), {place: FLAT}, {place: other})
        gap = np.arctanh(0.95) - np.arctanh(min(bound, 0.95))
        assert against.p == pytest.approx(2 * stats.norm.sf(gap / 0.851836), rel=1e-3)
    (judged,) = judge(RELATION, {place: FLAT}, {place: other.assign(trajectories=-other["trajectories"])})
    assert judged.value == pytest.approx(-1.0)
    assert judged.mark == "does not hold"
    lost = other.copy(deep=True)
    lost["trajectories"][-1] = np.nan
    (judged,) = judge(replace(RELATION, bound=-2), {place: FLAT}, {place: lost})
    assert (judged.seeds, judged.mark) == (4, "not enough data")
    few = other.isel(agent=other["agent_seed"].values < 4)
    (judged,) = judge(RELATION, {place: FLAT}, {place: few})
    assert (judged.seeds, judged.mark) == (4, "not enough data")
    assert judge(RELATION, {place: FLAT}) == []


@pytest.mark.parametrize("repeats", [200, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("seeds", [5, 10])
def test_the_interval_of_a_relation_covers(seeds, correlation, iterations, repeats):
    rng, hits = np.random.default_rng(0), []
    # Spearman's correlation of a normal population, Pearson (1907): 6 / pi arcsin(rho / 2)
    truth = 6 / np.pi * np.arcsin(correlation / 2)
    for _ in range(repeats):
        own = rng.standard_normal((iterations, seeds)) + rng.standard_normal(seeds)  # alike over iterations
        own /= np.sqrt(2)
        other = correlation * own
        other += np.sqrt(1 - correlation**2) * rng.standard_normal((iterations, seeds))
        found = rank_relation(own, other)
        hits.append(found.low <= truth <= found.high)
        assert -1 <= found.low <= found.value <= found.high <= 1
        assert found.high > found.low
    assert np.mean(hits) >= 0.92


def test_seeds_that_are_all_equal_decide_by_their_side_of_the_bound():
    """The sign test: five of five are on one side in 2 / 32 of studies by chance, six of six in 2 / 64."""
    claim = replace(CLAIM, statistic="level", iterations=(450,), bound=0.6)
    places = {n: {("hopper", "ppo"): dataset(np.full((3, n, 2), 0.5))} for n in (5, 6)}
    (five,), (six,) = (judge(claim, place) for place in places.values())
    assert (five.mark, five.p) == ("not enough data", 2 / 32)
    assert np.isnan([five.low, five.high]).all()
    assert (six.mark, six.p, six.low, six.high) == ("holds", 2 / 64, 0.5, 0.5)
    (at,) = judge(replace(claim, bound=0.5), places[6])
    assert (at.mark, at.p) == ("not enough data", 1.0)


def rewards_log(last: float) -> dict[str, np.ndarray]:
    """Two seeds of 12 iterations: 99 at the first two, then `last` and twice that; one iteration has no episode."""
    reward = np.full((12, 2), 99.0)
    reward[2:] = [last, 2 * last]
    reward[4, 1], reward[5, 0] = np.nan, last + 9
    columns = {"iteration": np.repeat(np.arange(12), 2), "agent_seed": np.tile([0, 1], 12)}
    return {**columns, "mean_reward": reward.ravel()}


def test_agents_end_with_the_mean_of_the_last_ten_iterations():
    found = final_rewards(rewards_log(10.0))
    assert found["final_reward"].values == pytest.approx([10.9, 20.0])
    assert found["iteration"].values.tolist() == [12, 12]
    # two iterations of 99, then 9 or 10 of it; an iteration without an episode does not count
    assert found["training_reward"].values == pytest.approx([(2 * 99 + 9 * 10 + 19) / 12, (2 * 99 + 9 * 20) / 11])
    silent = rewards_log(10.0)
    silent["mean_reward"][4::2] = np.nan
    assert np.isnan(final_rewards(silent)["final_reward"].values[0])


def test_ends_are_judged_as_a_ratio():
    claim = Claim(
        "c", "Lower.", "us", "final_reward", "contrast", (12,), "below", -1.609, log=True, tasks=("bare", "hopper")
    )
    (judged,) = judge(
        claim, {("bare", "ppo"): final_rewards(rewards_log(1.0)), ("hopper", "ppo"): final_rewards(rewards_log(10.0))}
    )
    assert judged.value == pytest.approx((np.log(1.9 / 10.9) + np.log(2.0 / 20.0)) / 2)
    assert judged.mark == "not enough data"
