"""Nine sick agents of Stable-Baselines3 and three healthy ones: the right cause is named, or none."""

import time

import pytest

pytest.importorskip("stable_baselines3")

import closerlook as cl
from closerlook.checkups.plan import Trial
from closerlook.checkups.pools import Pools
from sick_agents import (
    HEALTHY,
    SICK,
    flipped_advantages,
    gamma_one_half,
    large_batch,
)

MINUTES = 1.5
MOST_SECONDS = 120.0
"""Of one core, for one checkup."""


def check(patient, minutes):
    agent = cl.load(patient.file, env=patient.env, anyway=True)
    begun = time.process_time()
    found = cl.checkup(agent, minutes=minutes, batch=patient.batch, workers=1)
    assert time.process_time() - begun < MOST_SECONDS
    return found


@pytest.fixture
def usual_plan(monkeypatch):
    """A trial that does not read the clock: however busy the machine is, the plan is that of an idle one."""
    trial = lambda self, _: Trial(2e-4, 1.5, self.update_pairs)  # noqa: E731
    monkeypatch.setattr(Pools, "trial", trial)


@pytest.fixture
def short_plan(monkeypatch):
    """No time for updates."""
    monkeypatch.setattr(Pools, "trial", lambda self, _: Trial(2e-4, None, self.update_pairs))


YOUNG = {
    "gamma 0.5": (gamma_one_half, "horizon_too_short"),
    "flipped advantages": (flipped_advantages, "wrong_advantages"),
}
"""Those that can be told after a single batch of training."""


@pytest.mark.usefixtures("short_plan")
@pytest.mark.parametrize("name", [pytest.param("gamma 0.5", marks=pytest.mark.slow), "flipped advantages"])
def test_a_young_agent_that_is_sick_is_told_what_is_wrong(name, tmp_path):
    make, cause = YOUNG[name]
    found = check(make(tmp_path, steps=1024), 0.1)
    assert found.cause.diagnosis == cause
    assert found.cause.advice


@pytest.mark.slow
@pytest.mark.usefixtures("usual_plan")
@pytest.mark.parametrize("name", SICK)
def test_what_is_wrong_is_named_first(name, tmp_path):
    make, cause = SICK[name]
    found = check(make(tmp_path), MINUTES)
    assert found.cause is not None, str(found)
    assert found.cause.diagnosis == cause, str(found)


@pytest.mark.slow
@pytest.mark.usefixtures("usual_plan")
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_agent_has_no_cause(name, tmp_path):
    found = check(HEALTHY[name](tmp_path), MINUTES)
    assert found.cause is None, str(found)
    assert found["healthy"].level == "ok", str(found)


@pytest.mark.slow
@pytest.mark.usefixtures("usual_plan")
def test_of_a_batch_that_is_ample_it_is_said_that_half_would_do(tmp_path):
    found = check(large_batch(tmp_path), MINUTES)
    assert "two batches half as large make two updates" in found["batch_too_small"].statement, str(found)
