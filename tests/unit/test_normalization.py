"""Running moments against NumPy's own."""

import numpy as np
import pytest

from closerlook.agents.normalization import RunningMoments, Scaling


def pushed(values: np.ndarray, where: np.ndarray) -> RunningMoments:
    """Push (T, P, S, K) in T steps."""
    moments = RunningMoments.empty(values.shape[1], values.shape[3])
    for rows, mask in zip(values, where, strict=True):
        moments.push_rows(rows, mask)
    return moments


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_moments_are_those_of_everything_pushed(rows):
    generator = np.random.default_rng(0)
    values = 100.0 + generator.normal(size=(50, 3, rows, 4)) * np.array([1e-3, 1, 10, 100])
    where = generator.random((50, 3, rows)) < 0.6
    moments = pushed(values, where)
    for policy in range(3):
        seen = values[:, policy][where[:, policy]]
        assert moments.count[policy] == len(seen)
        np.testing.assert_allclose(moments.mean[policy], seen.mean(0), rtol=1e-12)
        np.testing.assert_allclose(moments.variance[policy], seen.var(0, ddof=1), rtol=1e-8)


def test_a_step_that_nobody_takes_changes_nothing():
    moments = RunningMoments(np.array([3.0]), np.array([[1.0]]), np.array([[2.0]]))
    for rows in (1, 2):
        moments.push_rows(np.full((1, rows, 1), 7.0), np.zeros((1, rows), bool))
    assert (moments.count[0], moments.mean[0, 0], moments.squares[0, 0]) == (3, 1, 2)


def test_a_single_vector_has_its_square_for_a_variance():
    moments = RunningMoments.empty(1, 2)
    moments.push(np.array([[3.0, -2.0]]))
    assert moments.variance.tolist() == [[9.0, 4.0]]


def test_members_do_not_touch_each_other():
    values, where = np.random.default_rng(1).normal(size=(30, 4, 5, 3)), np.ones((30, 4, 5), bool)
    where[::2, 0] = False
    together = pushed(values, where)
    for policy in range(4):
        alone = pushed(values[:, [policy]], where[:, [policy]])
        assert alone.squares[0].tobytes() == together.squares[policy].tobytes()


def test_a_copy_goes_its_own_way():
    moments = RunningMoments.empty(1, 1)
    moments.copy().push(np.ones((1, 1)))
    assert moments.count[0] == 0


def test_divisors():
    variance = np.array([4.0])
    assert Scaling(epsilon=0.5).divisor(variance)[0] == 2.5
    assert Scaling(epsilon=5.0, epsilon_on="variance").divisor(variance)[0] == 3.0
