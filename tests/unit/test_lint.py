"""Each fault, made from a healthy batch by one line, is found and named, and no other; healthy batches are healthy."""

import json

import numpy as np
import pytest
import torch

import closerlook as cl
from closerlook.monitor.row_checks import surrogate_gradient
from closerlook.statistics.recursions import Recursion, backward_sums, coarsest_step, fit_terms, residuals
from training_batches import KINDS, make, slow_gae

CUT = ("time_limit",)
WITH_BOUNDS = ("continuous", "time_limit")


def again(made, *, rewards=None, values=None, following=None, terminated=None, ends=None, decay=None):
    """The batch with advantages and returns recomputed by the slow loop from other things than those stored."""
    batch = made.batch
    gamma, lam = decay or (batch.gamma, batch.gae_lambda)
    values = batch.values if values is None else values
    advantages = slow_gae(
        batch.rewards if rewards is None else rewards,
        values,
        made.final_values if following is None else following,
        batch.terminated if terminated is None else terminated,
        batch.done if ends is None else ends,
        gamma,
        lam,
    )
    return batch.replace(advantages=advantages, returns=advantages + values)


def next_values(made):
    """V of the next row, whatever ended in between."""
    return np.concatenate([made.batch.values[1:], made.final_values[-1:]])


def flat(batch, name, order):
    """An array as one long row, environment after environment or step after step."""
    array = getattr(batch, name)
    return (array.T if order == "environments" else array).reshape(-1, 1)


def flat_gae(made, order):
    """Advantages computed after the batch was flattened."""
    batch = made.batch
    rewards, values, done = (flat(batch, name, order) for name in ("rewards", "values", "done"))
    own_following = np.where(batch.truncated, made.final_values, 0.0)
    following = np.where(
        done,
        (own_following.T if order == "environments" else own_following).reshape(-1, 1),
        np.append(values[1:], made.final_values[-1, -1])[:, None],
    )
    found = slow_gae(rewards, values, following, np.zeros_like(done), done, batch.gamma, batch.gae_lambda)
    shape = batch.rewards.shape
    return found.reshape(shape[::-1]).T if order == "environments" else found.reshape(shape)


def standardized(array, axis=None):
    return (array - array.mean(axis, keepdims=True)) / array.std(axis, keepdims=True)


def clipped(batch):
    return np.clip(batch.actions, -1, 1)


def log_probs(batch, actions=None, observations=None):
    seen = batch.observations if observations is None else observations
    with torch.no_grad():
        found = batch.policy(torch.as_tensor(seen).reshape(-1, 4)).log_prob(
            torch.as_tensor(batch.actions if actions is None else actions).reshape(
                batch.pairs, *batch.actions.shape[2:]
            )
        )
    return found.numpy().reshape(batch.rewards.shape)


def moved(array, shift=1):
    return np.roll(array, shift, axis=0)


def mixed(array):
    return array.reshape(array.shape[1], array.shape[0], *array.shape[2:]).swapaxes(0, 1)


NOWHERE = np.zeros((48, 3), dtype=bool)
FAULTS = {
    "truncation_as_termination": (lambda m: again(m, terminated=m.batch.done), CUT),
    "termination_ignored": (
        lambda m: again(m, following=next_values(m), terminated=NOWHERE, ends=NOWHERE),
        ("continuous", "discrete"),
    ),
    "termination_bootstrapped": (
        lambda m: again(m, following=next_values(m), terminated=NOWHERE),
        ("continuous", "discrete"),
    ),
    "truncation_ignored": (lambda m: again(m, following=next_values(m), ends=m.batch.terminated), CUT),
    "next_episode_at_truncation": (lambda m: again(m, following=next_values(m)), CUT),
    "own_value_at_truncation": (
        lambda m: again(m, following=np.where(m.batch.truncated, m.batch.values, m.final_values)),
        CUT,
    ),
    "wrong_sign": (lambda m: m.batch.replace(advantages=-m.batch.advantages, returns=None), KINDS),
    "rewards_shifted": (lambda m: m.batch.replace(rewards=moved(m.batch.rewards)), KINDS),
    "rewards_shifted back": (lambda m: again(m, rewards=moved(m.batch.rewards, -1)), KINDS),
    "flags_shifted": (
        lambda m: again(
            m,
            ends=moved(m.batch.done),
            terminated=moved(m.batch.done),
            following=next_values(m),
        ),
        ("continuous", "discrete"),
    ),
    "flags_shifted stored": (
        lambda m: m.batch.replace(terminated=moved(m.batch.terminated, -1)),
        ("continuous", "discrete"),
    ),
    "advantages_shifted": (lambda m: m.batch.replace(advantages=moved(m.batch.advantages), returns=None), KINDS),
    "environments_interleaved": (lambda m: m.batch.replace(advantages=flat_gae(m, "steps"), returns=None), KINDS),
    "environments_interleaved next": (
        lambda m: m.batch.replace(advantages=flat_gae(m, "environments"), returns=None),
        KINDS,
    ),
    "environments_interleaved rows": (
        lambda m: m.batch.replace(advantages=mixed(m.batch.advantages), returns=None),
        KINDS,
    ),
    "environments_interleaved rewards": (lambda m: m.batch.replace(rewards=mixed(m.batch.rewards)), KINDS),
    "returns_in_place_of_advantages": (lambda m: m.batch.replace(advantages=m.batch.returns, returns=None), KINDS),
    "values_in_other_units": (
        lambda m: m.batch.replace(
            values=(m.batch.values - 0.4) / 3,
            last_values=(m.batch.last_values - 0.4) / 3,
            truncation_values=(m.batch.truncation_values - 0.4) / 3,
            critic=None,
            returns=None,
        ),
        KINDS,
    ),
    "rewards_in_other_units": (lambda m: m.batch.replace(rewards=5 * m.batch.rewards), KINDS),
    "other_discount": (lambda m: again(m, decay=(0.99, 0.95)), KINDS),
    "cut_as_termination": (
        lambda m: again(m, following=np.concatenate([m.final_values[:-1], 0 * m.final_values[-1:]])),
        ("continuous", "discrete"),
    ),
    "own_value_at_cut": (
        lambda m: again(m, following=np.concatenate([m.final_values[:-1], m.batch.values[-1:]])),
        ("continuous", "discrete"),
    ),
    "half_precision": (lambda m: m.batch.replace(advantages=m.batch.advantages.astype(np.float16)), KINDS),
    "half_precision of brain floats": (
        lambda m: m.batch.replace(log_probs=torch.as_tensor(m.batch.log_probs).bfloat16()),
        KINDS,
    ),
    "unexplained": (
        lambda m: m.batch.replace(advantages=np.random.default_rng(1).normal(size=(48, 3)), returns=None),
        KINDS,
    ),
    "returns_of_normalized_advantages": (
        lambda m: m.batch.replace(
            advantages=standardized(m.batch.advantages), returns=standardized(m.batch.advantages) + m.batch.values
        ),
        KINDS,
    ),
    "advantages_in_place_of_returns": (lambda m: m.batch.replace(returns=m.batch.advantages), KINDS),
    "returns_shifted": (lambda m: m.batch.replace(returns=moved(m.batch.returns)), KINDS),
    "normalized_twice": (
        lambda m: m.batch.replace(advantages=standardized(m.batch.advantages), normalize_advantages="minibatch"),
        KINDS,
    ),
    "normalized_per_environment": (
        lambda m: m.batch.replace(advantages=standardized(m.batch.advantages, axis=0)),
        KINDS,
    ),
    "normalized_otherwise": (
        lambda m: m.batch.replace(used_advantages=m.batch.advantages, normalize_advantages="batch"),
        KINDS,
    ),
    "clipped_actions_stored": (lambda m: m.batch.replace(actions=clipped(m.batch)), WITH_BOUNDS),
    "log_probs_of_clipped_actions": (
        lambda m: m.batch.replace(log_probs=log_probs(m.batch, actions=clipped(m.batch))),
        WITH_BOUNDS,
    ),
    "log_probs_shifted": (lambda m: m.batch.replace(log_probs=moved(m.batch.log_probs)), KINDS),
    "environments_interleaved log_probs": (lambda m: m.batch.replace(log_probs=mixed(m.batch.log_probs)), KINDS),
    "raw_observations": (
        lambda m: m.batch.replace(log_probs=log_probs(m.batch, observations=m.batch.raw_observations)),
        KINDS,
    ),
    "another_policy": (lambda m: m.batch.replace(policy=make("continuous", seed=9).batch.policy), WITH_BOUNDS),
    "another_critic": (lambda m: m.batch.replace(critic=make("continuous", seed=9).batch.critic), KINDS),
    "flags_contradict": (
        lambda m: m.batch.replace(episode_starts=np.where(np.arange(48)[:, None] < 30, m.batch.episode_starts, False)),
        KINDS,
    ),
    "not_finite": (
        lambda m: m.batch.replace(
            observations=np.where(np.arange(48)[:, None, None] == 5, np.nan, m.batch.observations),
            policy=None,
            critic=None,
        ),
        KINDS,
    ),
}
"""Name of the diagnosis, and more to tell apart: the fault, and where it can be."""


@pytest.fixture(scope="module")
def healthy():
    return {kind: make(kind) for kind in KINDS}


def diagnoses(found):
    return {check.diagnosis for check in found.faults}


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, (_, kinds) in FAULTS.items() for kind in kinds])
def test_each_fault_is_found_and_no_other(name, kind, healthy):
    found = cl.lint(FAULTS[name][0](healthy[kind]))
    assert diagnoses(found) == {name.split()[0]}, str(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_healthy_batches_are_healthy(kind, seed):
    made = make(kind, seed=seed, steps=(5, 16, 48)[seed % 3], environments=1 + seed % 4)
    found = cl.lint(made.batch)
    assert found.level in {"ok", "unknown"}, str(found)
    assert found["advantages"].level == found["log_probs"].level == found["values"].level == "ok"


@pytest.mark.parametrize("kind", KINDS)
def test_one_standardization_is_no_fault(kind, healthy):
    batch = healthy[kind].batch
    over_batch = cl.lint(batch.replace(advantages=standardized(batch.advantages)))
    assert not over_batch.faults
    assert "over the batch" in over_batch["normalization"].statement
    minibatches = np.random.default_rng(0).permutation(np.arange(batch.pairs) % 4).reshape(batch.rewards.shape)
    used = batch.advantages.astype(np.float64).copy()
    for number in range(4):
        used[minibatches == number] = standardized(used[minibatches == number])
    by_update = batch.replace(used_advantages=used, minibatches=minibatches, normalize_advantages="minibatch")
    assert not cl.lint(by_update).faults
    assert "minibatch" in cl.lint(by_update)["normalization"].statement


def test_the_first_step_and_environment_that_differ_are_named(healthy):
    batch = healthy["continuous"].batch
    advantages = batch.advantages.copy()
    advantages[20:25, 1] += 1.0
    advantages[30, 0] += 1.0
    check = cl.lint(batch.replace(advantages=advantages, returns=None))["advantages"]
    assert (check.first_step, check.first_environment) == (19, 1)  # whose recursion leads into step 20
    log_prob = batch.log_probs.copy()
    log_prob[7, 2] -= 0.5
    check = cl.lint(batch.replace(log_probs=log_prob))["log_probs"]
    assert (check.first_step, check.first_environment, check.diagnosis) == (7, 2, "another_policy")


def test_a_mistake_shows_where_bootstraps_are_not_stored(healthy):
    made = healthy["time_limit"]
    wrong = again(made, terminated=made.batch.done).replace(truncation_values=None)
    assert diagnoses(cl.lint(wrong)) == {"truncation_as_termination"}
    right = made.batch.replace(truncation_values=None, last_values=None)
    assert not cl.lint(right).faults
    no_end = again(make("continuous"), following=0 * made.final_values, terminated=NOWHERE).replace(last_values=None)
    assert cl.lint(no_end)["advantages"].level == "problem"


def test_what_is_declared_is_no_fault(healthy):
    made = healthy["time_limit"]
    paper = again(made, terminated=made.batch.done).replace(truncation="terminate")
    assert not cl.lint(paper).faults
    rewards = made.batch.rewards + made.batch.gamma * np.where(made.batch.truncated, made.final_values, 0.0)
    as_sb3 = made.batch.replace(rewards=rewards, truncation="in_rewards", truncation_values=None)
    assert not cl.lint(as_sb3).faults
    only_done = {"terminated": None, "truncated": None, "done": made.batch.done}
    assert not cl.lint(as_sb3.replace(**only_done)).faults
    assert not cl.lint(paper.replace(**only_done)).faults
    assert not cl.lint(made.batch.replace(**only_done)).faults


def test_rows_of_a_next_step_reset_are_found(healthy):
    """After each end a row is put in: final observation, any action, reward 0, leading to the reset."""
    for kind in KINDS:
        batch = healthy[kind].batch
        for known in (True, False):
            kept = with_reset_rows(batch, known=known)
            assert diagnoses(cl.lint(kept)) == {"autoreset_row_kept"}
    sparse = batch.replace(rewards=np.zeros_like(batch.rewards), advantages=None, returns=None)
    assert not cl.lint(sparse).faults


def with_reset_rows(batch, *, known):
    """One environment's rows, with the row that a vector environment returns while it resets."""
    column = slice(0, 1)
    order, dummy = [], []
    for t in range(batch.steps):
        order += [t, t] if batch.done[t, 0] else [t]
        dummy += [False, True] if batch.done[t, 0] else [False]
    take, dummy = np.array(order), np.array(dummy)
    observations = batch.observations[take, column].copy()
    following = batch.next_observations[take, column].copy()
    observations[dummy] = following[dummy]
    following[dummy] = batch.observations[np.minimum(take[dummy] + 1, batch.steps - 1), column]
    rewards = np.where(dummy[:, None], 0.0, batch.rewards[take, column])
    done = np.where(dummy[:, None], False, batch.done[take, column])
    return cl.Batch(
        rewards=rewards,
        observations=observations,
        next_observations=following if known else None,
        done=done,
        gamma=batch.gamma,
        gae_lambda=batch.gae_lambda,
    )


def test_the_sign_of_an_update(healthy):
    for kind in KINDS:
        batch = make(kind, steps=128, environments=4).batch
        for sign, level in ((1.0, "ok"), (-1.0, "problem")):
            after = updated(batch, sign)
            found = cl.lint(batch, after=after)["update_sign"]
            assert found.level == level, found
    assert cl.lint(batch)["update_sign"].level == "unknown"


def test_a_step_that_an_optimizers_memory_carries_is_no_wrong_sign(healthy):
    """Momentum of earlier batches may lead a little against the gradient of this one, far beyond 3 / sqrt(D)."""
    batch = make("continuous", steps=128, environments=4).batch
    own = list(batch.policy.parameters.values())
    gradient = surrogate_gradient(batch, own, standardize=True)
    draws = torch.Generator().manual_seed(3)
    other = torch.randn(len(gradient), generator=draws)
    other -= gradient * (other @ gradient) / gradient.square().sum()
    for share, level in ((-0.46, "ok"), (-0.9, "problem")):
        step = share * gradient / gradient.norm() + np.sqrt(1 - share**2) * other / other.norm()
        after = make("continuous").batch.policy.call
        with torch.no_grad():
            parts = torch.split(0.02 * step, [p.numel() for p in after.parameters()])
            for parameter, part in zip(after.parameters(), parts, strict=True):
                parameter.add_(part.reshape(parameter.shape))
        found = cl.lint(batch, after=after)["update_sign"]
        assert found.evidence["cosine_of_step_and_gradient"] < -3 / np.sqrt(len(gradient))
        assert found.level == level, found


def updated(batch, sign):
    """The policy after a few steps of gradient ascent on sign times the surrogate."""
    torch.manual_seed(0)
    policy = make({1: "discrete", 2: "continuous"}[batch.actions.ndim - 1], seed=0).batch.policy.call
    seen = torch.as_tensor(batch.observations).reshape(-1, 4)
    actions = torch.as_tensor(batch.actions).reshape(batch.pairs, *batch.actions.shape[2:])
    advantages = torch.as_tensor(standardized(batch.advantages)).reshape(-1)
    for _ in range(10):
        ratio = (policy(seen).log_prob(actions) - torch.as_tensor(batch.log_probs).reshape(-1)).exp()
        gradients = torch.autograd.grad(
            sign * (ratio * advantages).mean(), list(policy.parameters()), allow_unused=True
        )
        with torch.no_grad():
            for parameter, gradient in zip(policy.parameters(), gradients, strict=True):
                parameter.add_(0.0 if gradient is None else 0.03 * gradient)
    return policy


class Squashed(torch.nn.Module):
    """A policy of tanh-squashed actions, without the correction of its densities where asked."""

    def __init__(self, policy, *, corrected):
        super().__init__()
        self.policy, self.corrected = policy, corrected

    def forward(self, x):
        base = self.policy(x)
        inner = torch.distributions.TransformedDistribution(
            base, [torch.distributions.transforms.TanhTransform(cache_size=1)]
        )
        return inner if self.corrected else Uncorrected(base)


class Uncorrected:
    def __init__(self, base):
        self.base = base

    def log_prob(self, actions):
        return self.base.log_prob(torch.atanh(actions.clamp(-1 + 1e-6, 1 - 1e-6)))


def test_a_missing_squash_correction():
    batch = make("continuous").batch
    squashed = np.tanh(batch.actions)
    right = batch.replace(actions=squashed, policy=Squashed(batch.policy.call, corrected=True), applied_actions=None)
    healthy = right.replace(log_probs=log_probs(right))
    assert not cl.lint(healthy).faults
    missing = right.replace(log_probs=log_probs(right.replace(policy=Squashed(batch.policy.call, corrected=False))))
    assert diagnoses(cl.lint(missing)) == {"squash_correction_missing"}
    twice = healthy.replace(policy=Squashed(batch.policy.call, corrected=False))
    assert diagnoses(cl.lint(twice)) == {"squash_correction_twice"}
    scaled = healthy.replace(log_probs=healthy.log_probs - 2 * np.log(0.5).astype(np.float32))
    assert diagnoses(cl.lint(scaled)) == {"scale_correction_missing"}


def test_what_is_missing_is_unknown():
    found = cl.lint(cl.Batch(rewards=np.ones((4, 2))))
    assert found.level == "unknown"
    assert {check.level for check in found.checks if check.check != "finite"} == {"unknown"}
    assert all(check.advice for check in found.checks if check.level == "unknown")


def test_findings_become_json(healthy):
    batch = healthy["continuous"].batch
    plain = cl.lint(batch.replace(advantages=-batch.advantages)).to_json()
    assert json.loads(json.dumps(plain)) == json.loads(json.dumps(plain))
    check = next(check for check in plain["checks"] if check["check"] == "advantages")
    keys = {"diagnosis", "layer", "level", "statement", "evidence", "usual", "advice", "settings", "first_step"}
    assert keys <= set(check)


def test_residuals_by_hand():
    """Two steps of one environment: r = 1, 2; V = 3, 4; the second is cut, V' = 5; gamma 0.5, lambda 0.5."""
    rewards, values = np.array([[1.0], [2.0]]), np.array([[3.0], [4.0]])
    following, traces = np.array([[4.0], [5.0]]), np.array([[1.0], [0.0]])
    recursion = Recursion(rewards, values, following, traces, 0.5, 0.25)
    assert recursion.deltas.ravel().tolist() == [0.0, 0.5]  # 1 + 2 - 3, 2 + 2.5 - 4
    right = np.array([[0.125], [0.5]])
    assert residuals(right, recursion).agree
    wrong = residuals(right + np.array([[0.0], [0.1]]), recursion)
    assert wrong.first == (0, 0)
    assert wrong.wrong == 2
    assert backward_sums(recursion.deltas, np.array([[0.25], [0.0]])).ravel().tolist() == [0.125, 0.5]


def test_fits_are_exact_or_none():
    draws = np.random.default_rng(0)
    one, two = draws.normal(size=(2, 40, 1))
    assert np.allclose(fit_terms(2 * one - 3 * two, [one, two]), [2, -3])
    assert fit_terms(2 * one - 3 * two + 0.01 * draws.normal(size=one.shape), [one, two]) is None
    assert fit_terms(one, [one, 2 * one]) is None
    assert fit_terms(one[:5], [one[:5], two[:5]]) is None


def test_precision_is_seen_in_numbers():
    numbers = np.random.default_rng(0).normal(size=100).astype(np.float32)
    assert coarsest_step(numbers) is None
    assert coarsest_step(numbers.astype(np.float16)) == pytest.approx(2.0**-10)
    assert coarsest_step(torch.as_tensor(numbers).bfloat16().float().numpy()) == 2.0**-7
    assert coarsest_step(np.arange(10.0)) is None
