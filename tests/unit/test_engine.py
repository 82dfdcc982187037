"""Engines are lent: kept from one rollout to the next, closed after an error, never lent twice at once."""

import pytest

from closerlook.agents.environment import EnvironmentSpec
from closerlook.simulation import engine as engines
from closerlook.simulation.engine import lend_engine
from closerlook.simulation.gymnasium_engine import GymnasiumEngine
from closerlook.simulation.mujoco_engine import MujocoEngine

HOPPER = EnvironmentSpec("Hopper-v5")


@pytest.fixture(autouse=True)
def _nothing_kept():
    engines._close_kept()
    yield
    engines._close_kept()


def test_an_engine_given_back_is_lent_again():
    with lend_engine(HOPPER, 2) as first:
        pass
    with lend_engine(HOPPER, 2) as second:
        assert second is first
        with lend_engine(HOPPER, 2) as other:
            assert other is not first


def test_another_size_or_choice_is_another_engine():
    with lend_engine(HOPPER, 2) as fast:
        assert isinstance(fast, MujocoEngine)
    with lend_engine(HOPPER, 2, "gymnasium") as plain:
        assert isinstance(plain, GymnasiumEngine)
    with lend_engine(HOPPER, 3) as larger:
        assert larger is not fast


def test_after_an_error_an_engine_is_not_kept():
    with pytest.raises(RuntimeError), lend_engine(HOPPER, 1) as broken:
        raise RuntimeError
    with lend_engine(HOPPER, 1) as fresh:
        assert fresh is not broken


def test_few_engines_are_kept():
    for lanes in (1, 2, 3, 4):
        with lend_engine(HOPPER, lanes):
            pass
    assert len(engines._kept) == 2
