"""Distributions against torch's own and against quadrature."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from closerlook.nn.distributions import AnyDistribution, Categorical, DiagonalGaussian, recognize


@pytest.fixture
def gaussians():
    source = torch.Generator().manual_seed(0)
    mean, other = (torch.randn(5, 3, generator=source, dtype=torch.float64) for _ in range(2))
    return (
        DiagonalGaussian(mean, torch.tensor([0.1, -0.7, 0.4], dtype=torch.float64)),
        DiagonalGaussian(other, torch.tensor([-0.2, 0.3, 0.0], dtype=torch.float64)),
    )


def test_gaussian_equals_torch(gaussians):
    ours, other = gaussians
    theirs, theirs_other = (torch.distributions.Normal(d.mean, d.log_std.exp()) for d in gaussians)
    actions = ours.mean + 0.3
    torch.testing.assert_close(ours.log_prob(actions), theirs.log_prob(actions).sum(-1))
    torch.testing.assert_close(ours.entropy(), theirs.entropy().sum(-1))
    torch.testing.assert_close(ours.kl(other), torch.distributions.kl_divergence(theirs, theirs_other).sum(-1))


def test_gaussian_kl_by_quadrature():
    one = DiagonalGaussian(torch.tensor([[0.3]], dtype=torch.float64), torch.tensor([-0.5], dtype=torch.float64))
    two = DiagonalGaussian(torch.tensor([[-0.4]], dtype=torch.float64), torch.tensor([0.2], dtype=torch.float64))
    p, q = stats.norm(0.3, np.exp(-0.5)), stats.norm(-0.4, np.exp(0.2))
    expected, _ = integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -10, 10)
    assert one.kl(two).item() == pytest.approx(expected, rel=1e-9)
    assert one.kl(two).item() != pytest.approx(two.kl(one).item(), rel=1e-3)


def test_categorical_equals_torch():
    source = torch.Generator().manual_seed(1)
    logits, other = torch.randn(6, 4, generator=source), torch.randn(6, 4, generator=source)
    ours, theirs = Categorical(logits), torch.distributions.Categorical(logits=logits)
    actions = torch.tensor([0, 1, 2, 3, 1, 0])
    torch.testing.assert_close(ours.log_prob(actions), theirs.log_prob(actions))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    expected = torch.distributions.kl_divergence(theirs, torch.distributions.Categorical(logits=other))
    torch.testing.assert_close(ours.kl(Categorical(other)), expected)


def test_categorical_sampling_inverts_the_cumulative_distribution():
    distribution = Categorical(torch.log(torch.tensor([[0.2, 0.5, 0.3]])).expand(5, 3))
    noise = torch.tensor([[0.0], [0.19], [0.21], [0.71], [1 - 1e-9]])
    assert distribution.sample(noise).tolist() == [0, 0, 1, 2, 2]


MASKS = {
    "one": [[1, 0, 1, 1], [1, 1, 0, 1]],
    "the first and the last": [[0, 1, 1, 0], [0, 1, 1, 1]],
    "all but one": [[0, 1, 0, 0], [0, 0, 0, 1]],
    "none": [[1, 1, 1, 1], [1, 1, 1, 1]],
}


@pytest.mark.parametrize("mask", MASKS)
def test_a_masked_choice_equals_the_choice_among_what_is_left(mask):
    """Entropy, divergence, log probability, and first and second derivatives by the logits, against fewer actions."""
    source = torch.Generator().manual_seed(2)
    logits, other = torch.randn(2, 2, 4, generator=source, dtype=torch.float64)
    kept = torch.tensor(MASKS[mask], dtype=torch.bool)
    for row in range(2):
        left = kept[row].nonzero().squeeze(-1)
        for quantity in (
            lambda p, _: p.entropy().sum(),
            lambda p, q: p.kl(q).sum(),
            lambda p, q: q.kl(p).sum(),
        ):
            masked = _with_derivatives(quantity, logits[row], other[row], left, whole=True)
            few = _with_derivatives(quantity, logits[row], other[row], left, whole=False)
            for one, two in zip(masked, few, strict=True):
                assert torch.isfinite(one).all()
                torch.testing.assert_close(one, two)
    whole = Categorical(logits.masked_fill(~kept, -torch.inf))
    theirs = torch.distributions.Categorical(logits=whole.logits)
    torch.testing.assert_close(whole.entropy(), theirs.entropy())
    noise = torch.linspace(0, 1 - 1e-16, 101, dtype=torch.float64)[:, None, None].expand(101, 2, 1)
    drawn = Categorical(whole.logits.expand(101, 2, 4)).sample(noise)
    assert kept[torch.arange(2), drawn].all()


def _with_derivatives(quantity, logits, other, left, *, whole):
    """Return a quantity of two choices, and its gradient and its Hessian along a direction, at the logits `left`."""
    leaves = [one[left].clone().requires_grad_() for one in (logits, other)]
    if whole:
        rows = [torch.full_like(logits, -torch.inf).index_put((left,), leaf)[None] for leaf in leaves]
    else:
        rows = [leaf[None] for leaf in leaves]
    value = quantity(*(Categorical(row) for row in rows))
    slopes = torch.autograd.grad(value, leaves, create_graph=True, materialize_grads=True)
    along = sum((slope * torch.linspace(-1, 1, len(left), dtype=torch.float64)).sum() for slope in slopes)
    curvature = torch.autograd.grad(along, leaves, materialize_grads=True)
    return [value.detach(), *(one.detach() for one in (*slopes, *curvature))]


def test_a_divergence_from_what_masks_more_is_infinite():
    free, masked = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, -torch.inf]])
    assert Categorical(free).kl(Categorical(masked)).item() == torch.inf
    assert Categorical(masked).kl(Categorical(free)).item() == pytest.approx(np.log(1.5))


def test_a_probability_that_underflows_counts_as_none():
    sharp = Categorical(torch.tensor([[0.0, -200.0, -torch.inf]]).requires_grad_())
    quantities = sharp.entropy().sum() + sharp.kl(Categorical(torch.tensor([[0.0, -torch.inf, 0.0]]))).sum()
    quantities.backward()
    assert sharp.entropy().item() == 0.0
    assert torch.isfinite(sharp.logits.grad).all()


@pytest.mark.parametrize("shape", ["flat", "independent", "validated"])
def test_a_choice_made_from_probabilities_never_draws_one_of_none(shape):
    """torch takes the logarithm of a probability of 0 to be that of 1.2e-7."""
    probabilities = torch.tensor([[0.5, 0.0, 0.5, 0.0]])

    def build(outputs):
        choice = torch.distributions.Categorical(probs=outputs, validate_args=shape == "validated")
        return torch.distributions.Independent(choice, 0) if shape == "independent" else choice

    found = recognize(probabilities, build, (1,))
    assert found.logits[0].tolist() == [np.float32(np.log(np.float32(0.5))), -np.inf] * 2
    assert found.sample(torch.tensor([[1 - 1e-16]], dtype=torch.float64)).tolist() == [2]
    assert found.entropy().item() == pytest.approx(np.log(2))


@pytest.mark.parametrize("answer", [(1.0, 2.0), torch.zeros(3, 2), None])
def test_what_is_no_distribution_is_told(answer):
    with pytest.raises(TypeError, match=r"distribution gave a \w+, not a torch.distributions.Distribution"):
        recognize(torch.zeros(3, 2), lambda _: answer, (3,))


def test_a_sampled_gaussian_has_its_moments():
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((100_000, 2)))
    log_std = torch.tensor([0.5, -1.0], dtype=torch.float64)
    actions = DiagonalGaussian(torch.tensor([1.0, -2.0], dtype=torch.float64), log_std).sample(noise)
    torch.testing.assert_close(actions.mean(0), torch.tensor([1.0, -2.0], dtype=torch.float64), atol=0.02, rtol=0)
    torch.testing.assert_close(actions.std(0), log_std.exp(), atol=0.01, rtol=0)


def test_known_families_are_recognized():
    normal = recognize(torch.zeros(4, 2), lambda mean: torch.distributions.Normal(mean, 0.5), (4,))
    wrapped = torch.zeros(4, 2), lambda mean: torch.distributions.Independent(torch.distributions.Normal(mean, 0.5), 1)
    categorical = recognize(torch.zeros(4, 3), lambda logits: torch.distributions.Categorical(logits=logits), (4,))
    assert isinstance(normal, DiagonalGaussian)
    assert isinstance(recognize(*wrapped, (4,)), DiagonalGaussian)
    assert isinstance(categorical, Categorical)
    torch.testing.assert_close(normal.log_std, torch.full((4, 2), 0.5).log())


def test_any_distribution_is_keyed_row_by_row():
    def build(outputs):
        return torch.distributions.Independent(torch.distributions.Gamma(outputs.exp(), 1.0), 1)

    outputs = torch.linspace(-1, 1, 8).reshape(4, 2)
    distribution = recognize(outputs, build, (4,))
    assert isinstance(distribution, AnyDistribution)
    before = torch.random.get_rng_state()
    all_rows = distribution.sample(torch.arange(4)[:, None])
    one_row = recognize(outputs[2:3], build, (1,)).sample(torch.tensor([[2]]))
    assert torch.equal(before, torch.random.get_rng_state())
    torch.testing.assert_close(all_rows[2:3], one_row, rtol=0, atol=0)
    torch.testing.assert_close(distribution.log_prob(all_rows), build(outputs).log_prob(all_rows))


def test_any_distribution_sums_over_components_that_are_not_independent_by_declaration():
    def build(outputs):
        return torch.distributions.Beta(outputs.exp(), 1.0)

    outputs = torch.linspace(-1, 1, 6).reshape(3, 2)  # at zero each is uniform, with an entropy of zero
    distribution = recognize(outputs, build, (3,))
    actions = torch.full((3, 2), 0.25)
    assert distribution.log_prob(actions).shape == (3,)
    torch.testing.assert_close(distribution.entropy(), build(outputs).entropy().sum(-1))
    torch.testing.assert_close(distribution.log_prob(actions), build(outputs).log_prob(actions).sum(-1))


def test_what_reaches_beyond_one_axis_is_not_taken_for_a_known_family():
    def choices(logits):
        return torch.distributions.Independent(torch.distributions.Categorical(logits=logits.reshape(-1, 2, 3)), 1)

    logits = torch.linspace(-1, 1, 24).reshape(4, 6)
    several = recognize(logits, choices, (4,))
    assert isinstance(several, AnyDistribution)
    actions = torch.tensor([[0, 2], [1, 1], [2, 0], [0, 0]])
    torch.testing.assert_close(several.log_prob(actions), choices(logits).log_prob(actions))


def test_an_entropy_that_torch_does_not_know_is_missing():
    tanh = torch.distributions.transforms.TanhTransform()

    def squashed(mean):
        inner = torch.distributions.Independent(torch.distributions.Normal(mean, 0.5), 1)
        return torch.distributions.TransformedDistribution(inner, [tanh])

    entropy = recognize(torch.zeros(3, 2), squashed, (3,)).entropy()
    assert entropy.shape == (3,)
    assert entropy.isnan().all()


def test_a_batch_of_other_than_the_rows_is_refused():
    def crossed(mean):
        return torch.distributions.Normal(mean, torch.ones(3, 1, 2))

    with pytest.raises(ValueError, match=r"of \[4\] observations has the batch shape \[3, 4, 2\]"):
        recognize(torch.zeros(4, 2), crossed, (4,))
