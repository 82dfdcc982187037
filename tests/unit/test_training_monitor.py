"""The monitor as a callback of this library's training: same agents, the monitor's numbers, levels from the log."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import closerlook as cl
from closerlook.agents.agent import Agent
from closerlook.algorithms.ppo import PPOSettings
from closerlook.monitor.levels import LIMITS, Limit
from closerlook.monitor.own_training import batches_of
from closerlook.monitor.training_monitor import PREFIX, WATCHED, level_changes
from closerlook.training.segment import gather, improve
from closerlook.training.settings import agent_seed, initial_agents

TINY = cl.TrainSettings(
    environment="training_environments:make_target",
    seeds=2,
    steps=4 * 96,
    n_steps=48,
    n_envs=2,
    hidden=(8, 8),
    gamma=0.9,
    checkpoints=(0, 3, 4),
    ppo=PPOSettings(policy_epochs=2, value_epochs=2, minibatches=4, policy_learning_rate=0.01),
)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    return cl.train(TINY, callbacks=[cl.TrainingMonitor(every=2)], out=folder, workers=1)


def test_training_is_the_same_when_watched(watched, tmp_path):
    plain = cl.train(TINY, out=tmp_path, workers=1)
    for path in sorted(tmp_path.glob("checkpoints/*/*/*.safetensors")):
        assert path.read_bytes() == (watched.folder / path.relative_to(tmp_path)).read_bytes()
    assert f"{PREFIX}mean_kl" not in plain.log


def test_the_log_has_the_monitors_numbers(watched):
    settings = TINY.resolved()
    seeds = [agent_seed(settings, number) for number in range(2)]
    agents = Agent.stack(initial_agents(settings, range(2)))
    for iteration in range(4):
        before, batch, _, sampled = gather(agents, settings, seeds, iteration)
        agents, _ = improve(before, batch, settings, seeds, iteration)
        updated = agents.unstack()  # noqa: PD010 - not a data frame
        for number, (own, after) in enumerate(zip(batches_of(before, batch, sampled), updated, strict=True)):
            (row,) = np.flatnonzero((watched.log["iteration"] == iteration) & (watched.log["agent_seed"] == number))
            measured = cl.Monitor(every=1, sink=()).on_update(None, after, own)
            for name in WATCHED:
                expected = np.nan if iteration % 2 else measured.numbers.get(name, np.nan)
                np.testing.assert_array_equal(watched.log[f"{PREFIX}{name}"][row], expected, err_msg=name)
    assert np.isfinite(watched.log["monitor_noise_scale_pairs"][watched.log["iteration"] == 0]).any()
    written = pd.read_csv(watched.folder / "training.csv")
    np.testing.assert_array_equal(written["monitor_mean_kl"], watched.log["monitor_mean_kl"])


def test_which_updates_are_measured_does_not_depend_on_checkpoints(watched, tmp_path):
    """Segments end elsewhere with other checkpoints, and callbacks begin anew in each."""
    again = cl.train(replace(TINY, checkpoints=(0, 1)), callbacks=[cl.TrainingMonitor(2)], out=tmp_path, workers=1)
    for name in WATCHED:
        np.testing.assert_array_equal(again.log[f"{PREFIX}{name}"], watched.log[f"{PREFIX}{name}"])


def test_levels_follow_from_the_log(watched):
    assert not list(level_changes(watched.log))
    # entropy has no limit of its own: with one that it is always beyond, it rises with its second measured update
    changes = list(level_changes(watched.log, {"entropy": (-100.0, 1e9)}))
    assert [(one.agent_seed, one.iteration, one.name, one.level) for one in changes] == [
        (seed, 2, "entropy", "watch") for seed in range(2)
    ]
    assert changes[0].value == watched.log["monitor_entropy"][watched.log["iteration"] == 2][0]
    # a rank is held against that of the agent's own first batch
    ranks = level_changes(watched.log, {"critic_feature_rank_to_first": Limit(1.0, 0.0, patience=1)})
    assert {one.iteration for one in ranks} >= {0}


def test_everything_that_has_a_limit_is_watched():
    assert {name.removesuffix("_to_first") for name in LIMITS} <= set(WATCHED)


def test_a_k_that_is_none_is_refused():
    with pytest.raises(cl.InputError, match="every must be a whole number of at least 1"):
        cl.TrainingMonitor(every=0)
    assert cl.TrainingMonitor(2).identity() != cl.TrainingMonitor(3).identity()
