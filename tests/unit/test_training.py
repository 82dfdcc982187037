"""Training runs: the same bytes however they are split or interrupted, and what they leave on disk."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from closerlook.agents.agent import Agent
from closerlook.agents.files import load_agent
from closerlook.agents.loading import find_agents, load
from closerlook.algorithms.natural import NaturalSettings
from closerlook.algorithms.ppo import PPOSettings
from closerlook.algorithms.trpo import TRPOSettings
from closerlook.algorithms.vanilla import VanillaSettings
from closerlook.errors import InputError, NonFiniteError
from closerlook.monitor.critic_audit import CriticAudit
from closerlook.simulation.records import Episodes
from closerlook.training import COLUMNS, TrainSettings, train
from closerlook.training.callback import Callback
from closerlook.training.log import numbers_of
from closerlook.training.plan import segment_bounds
from closerlook.training.segment import episode_columns, gather, improve, train_segment
from closerlook.training.settings import agent_seed, initial_agents

TINY = TrainSettings(
    environment="training_environments:make_target",
    seeds=3,
    steps=14 * 64,
    n_steps=64,
    hidden=(8, 8),
    checkpoints=(0, 3, 11),
    ppo=PPOSettings(policy_epochs=2, value_epochs=2, minibatches=4),
)
CG_COLUMNS = {"step_fraction", "line_search_failed", "cg_residual", "cg_steps"}
STEP_COLUMNS = CG_COLUMNS | {
    "gradient_norm",
    "update_norm",
    "predicted_improvement",
    "surrogate_improvement",
    "unusable_gradient",
    "quadratic_kl",
}
SPOILT = dataclasses.replace(TINY, environment="training_environments:make_spoilt", seed=4)


def files_of(run: Path) -> dict[str, bytes]:
    """Return every checkpoint, and the log without its seconds."""
    found = {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.glob("checkpoints/*/*/*"))}
    log = pd.read_csv(run / "training.csv")
    return found | {"log": log.drop(columns=["seconds_sampling", "seconds_update"]).to_csv().encode()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(TINY, out=tmp_path_factory.mktemp("whole"), workers=1).folder


def test_a_run_leaves_checkpoints_and_a_log(whole: Path) -> None:
    names = sorted(str(path.relative_to(whole / "checkpoints")) for path in whole.glob("checkpoints/*/*"))
    assert names == [f"{it:06d}/{seed:02d}" for it in (0, 3, 11, 14) for seed in range(3)]
    log = pd.read_csv(whole / "training.csv")
    assert list(log.columns) == list(COLUMNS)
    assert log[["iteration", "agent_seed"]].to_numpy().tolist() == [[i, s] for i in range(14) for s in range(3)]
    assert log.environment_steps.tolist() == [(i + 1) * 64 for i in range(14) for _ in range(3)]
    empty = set(log.columns[log.isna().all()])
    assert empty == {"notes", *STEP_COLUMNS}
    assert np.isfinite(log.drop(columns=list(empty)).to_numpy()).all()
    assert (log.episodes >= 6).all()


def test_the_last_agents_are_in_the_run(whole: Path) -> None:
    agents = find_agents(whole)
    assert [(agent.iteration, agent.agent_seed) for agent in agents] == [(14, 0), (14, 1), (14, 2)]
    assert agents[0].state["optimizer.policy.step"].item() == 14 * 2 * 4
    assert agents[0].state["returns.count"].item() == 14 * 64
    assert agents[0].algorithm_settings["total_iterations"] == 14


def test_checkpoint_0_has_the_first_parameters_and_the_statistics_of_the_first_rollout(whole: Path) -> None:
    agent = load_agent(whole / "checkpoints/000000/01")
    first = initial_agents(TINY.resolved(), [1])[0]
    same = [name for name in first.state if (agent.state[name] == first.state[name]).all()]
    assert {name.split(".")[0] for name in first.state if name not in same} == {"observations", "returns"}
    assert agent.state["returns.count"].item() == 64


@pytest.mark.parametrize(("seeds", "workers"), [(3, 2), (2, 1)])
def test_the_same_bytes_with_any_workers_and_any_companions(
    whole: Path, tmp_path: Path, seeds: int, workers: int
) -> None:
    run = train(dataclasses.replace(TINY, seeds=seeds), out=tmp_path / "run", workers=workers).folder
    expected, found = files_of(whole), files_of(run)
    for name in found.keys() - {"log"}:
        assert found[name] == expected[name], name
    if seeds == 3:
        assert found == expected


class Killed:
    """Progress that ends the run at its n-th report."""

    def __init__(self, reports: int) -> None:
        self.left, self.total = reports, 0.0

    def start(self, total_pairs: float, label: str) -> None:
        self.total = total_pairs

    def advance(self, pairs: float) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def note(self, text: str) -> None: ...

    def finish(self) -> None:
        pass


def test_a_killed_run_goes_on_to_the_same_end(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for reports in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            train(TINY, out=run, workers=1, progress=Killed(reports))
    damaged = sorted((run / "jobs").iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    rest = Killed(1000)
    train(TINY, out=run, workers=2, progress=rest)
    assert files_of(run) == files_of(whole)
    assert 0 < rest.total < 3 * 14 * 64


def test_a_finished_run_given_again_does_nothing(whole: Path) -> None:
    before, heard = files_of(whole), Killed(1)
    train(TINY, out=whole, workers=1, progress=heard)
    assert heard.total == 0.0
    assert files_of(whole) == before


def test_a_folder_of_other_settings_is_refused(whole: Path) -> None:
    other = dataclasses.replace(TINY, ppo=dataclasses.replace(TINY.ppo, clip=0.3))
    with pytest.raises(InputError, match=r"another run \(ppo.clip 0.2 there, 0.3 asked\)"):
        train(other, out=whole, workers=1)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reward_that_is_no_number_stops_the_run_and_is_named(tmp_path: Path, workers: int) -> None:
    with pytest.raises(NonFiniteError, match="reward") as caught:
        train(SPOILT, out=tmp_path, workers=workers)
    named = re.match(
        r"agent seed (\d), iteration (\d+): not every reward is finite in \S+; look at stream \2, step \d+; the",
        str(caught.value),
    )
    assert named is not None
    seed, iteration = (int(number) for number in named.groups())
    log = pd.read_csv(tmp_path / "training.csv")
    assert log[log.agent_seed == seed].iteration.tolist() == list(range(iteration))
    assert iteration > 0
    assert load(tmp_path, seed=seed).iteration == iteration


def test_the_others_of_a_segment_go_on_when_one_fails() -> None:
    settings = SPOILT.resolved()
    agents, seeds = initial_agents(settings, range(3)), [agent_seed(settings, k) for k in range(3)]
    together = train_segment(Agent.stack(agents), settings, seeds, 0, 10)
    assert len(set(together["done"].tolist())) > 1
    for k in range(3):
        alone = train_segment(Agent.stack([agents[k]]), settings, [seeds[k]], 0, 10)
        assert alone["done"][0] == together["done"][k]
        assert all(np.array_equal(alone[n][0], a[k]) for n, a in together.items() if n.startswith("state."))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "dqn"}, "algorithm is 'dqn'; choose from ppo, trpo"),
        ({"environment": "NoSuch-v0"}, "NoSuch"),
        ({"algorithm": "trpo"}, "settings of ppo are given, but the algorithm is trpo"),
        ({"trpo": TRPOSettings(max_kl=0.5)}, "settings of trpo are given, but the algorithm is ppo"),
        ({"ppo": PPOSettings(total_iterations=5)}, "total_iterations follows from the steps"),
        ({"baseline": "mean"}, "baseline is 'mean'"),
        ({"baseline": "none", "value_target": "returns"}, "a value target, and no critic"),
        ({"hidden": (0,)}, r"hidden is \[0\]; give at most 98 layers of 1 to 1,000,000 units"),
        ({"hidden": (8, -3)}, r"hidden is \[8, -3\]"),
        ({"observation_clip": -1.0}, r"observation_clip must be positive or none \(got -1\)"),
        ({"observation_clip": math.inf}, "observation_clip must be positive or none"),
        ({"reward_clip": math.nan}, "reward_clip must be positive or none"),
        ({"bootstrap": "wrong"}, "bootstrap is 'wrong'; choose from correct, paper"),
        ({"initialization": "kaiming"}, "initialization is 'kaiming'; choose from orthogonal, xavier"),
        ({"environment_arguments": {"length": math.inf}}, "environment_arguments .* cannot be kept with the agents"),
        (
            {"environment_arguments": {"length": np.float32(1)}},
            "environment_arguments .* cannot be kept with the agents",
        ),
        ({"steps": 99.5}, r"steps must be a whole number \(got 99\.5\)"),
        ({"steps": 63}, r"steps must be at least one batch, 64 \(got 63\)"),
        ({"seeds": 0}, r"seeds must be at least 1 \(got 0\)"),
        ({"gamma": 1.01}, r"gamma must be from 0 to 1 \(got 1\.01\)"),
        ({"first_seed": -1}, r"first_seed must be from 0 to 10,000 \(got -1\)"),
        ({"action_transform": "fold"}, "action_transform"),
        ({"checkpoints": (-1,)}, "negative"),
        ({"checkpoints": (0, 15, 3)}, "at iteration 15, and the run ends after 14; give other --checkpoints"),
    ],
)
def test_bad_settings_are_refused_before_a_folder_is_made(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(dataclasses.replace(TINY, **changes), out=tmp_path / "run", workers=1)
    assert not (tmp_path / "run").exists()


PPO_COLUMNS = {"hopper": (4.5e-4, 2e-4, None), "walker2d": (4e-4, 3e-4, 0.2), "humanoid": (2.5e-4, 1e-4, 0.2)}
TRPO_COLUMNS = {"hopper": (0.13, 2e-4), "walker2d": (0.04, 3e-4), "humanoid": (0.07, 3e-4)}


@pytest.mark.parametrize("task", PPO_COLUMNS)
def test_the_paper_preset_is_table_1(task: str) -> None:
    ppo = TrainSettings.of_preset("paper", environment=task).resolved()
    rates = (ppo.ppo.policy_learning_rate, ppo.ppo.value_learning_rate, ppo.ppo.value_clip)
    assert rates == PPO_COLUMNS[task]
    assert (ppo.initialization, ppo.observation_clip, ppo.normalize_rewards, ppo.reward_clip) == (
        "orthogonal",
        10.0,
        True,
        10.0,
    )
    assert (ppo.iterations, ppo.ppo.total_iterations, ppo.ppo.anneal) == (488, 488, True)
    assert ppo.checkpoints == (0, 150, 300, 450, 488)
    trpo = TrainSettings.of_preset("paper", environment=task, algorithm="trpo").resolved()
    assert (trpo.trpo.max_kl, trpo.trpo.value_learning_rate) == TRPO_COLUMNS[task]
    assert trpo.normalize_observations
    assert (trpo.initialization, trpo.observation_clip, trpo.normalize_rewards, trpo.reward_clip) == (
        "xavier",
        None,
        False,
        None,
    )
    update = trpo.trpo
    assert (update.fisher_fraction, update.cg_steps, update.damping, update.backtracks) == (0.1, 10, 0.1, 10)


@pytest.mark.parametrize("algorithm", ["ppo", "trpo"])
@pytest.mark.parametrize(("task", "transform"), [("hopper", "none"), ("walker2d", "none"), ("humanoid", "clip")])
def test_the_second_paper_preset_changes_bootstrap_and_humanoids_controls_alone(
    task: str, transform: str, algorithm: str
) -> None:
    both = [TrainSettings.of_preset(name, environment=task, algorithm=algorithm) for name in ("paper", "paper-v2")]
    assert both[1] == dataclasses.replace(both[0], bootstrap="paper", action_transform=transform)


def test_agents_of_later_numbers_are_the_same_alone(tmp_path: Path) -> None:
    whole = train(dataclasses.replace(TINY, seeds=3), out=tmp_path / "whole", workers=1)
    later = train(dataclasses.replace(TINY, seeds=2, first_seed=1), out=tmp_path / "later", workers=1)
    checkpoints = sorted(path.relative_to(later.folder) for path in later.folder.glob("checkpoints/*/*/*"))
    assert {path.parts[2] for path in checkpoints} == {"01", "02"}
    assert all((later.folder / path).read_bytes() == (whole.folder / path).read_bytes() for path in checkpoints)
    assert [agent.agent_seed for agent in later.agents] == [1, 2]
    own = whole.log["agent_seed"] > 0
    np.testing.assert_array_equal(whole.log["agent_seed"][own], later.log["agent_seed"])
    np.testing.assert_array_equal(whole.log["policy_loss"][own], later.log["policy_loss"])


def test_settings_that_came_later_stand_in_records_only_where_they_say_something() -> None:
    assert not {"first_seed", "action_transform"} & set(TINY.resolved().to_json())
    changed = dataclasses.replace(TINY, first_seed=2, action_transform="clip").resolved().to_json()
    assert (changed["first_seed"], changed["action_transform"]) == (2, "clip")


def test_agents_trained_with_clipped_actions_are_charged_for_those(tmp_path: Path) -> None:
    # the environment's cost is of the action it is given: wide actions pay nothing more beyond the bounds
    narrow = dataclasses.replace(TINY, environment="training_environments:make_narrow", seeds=1)
    free, clipped = (
        train(dataclasses.replace(narrow, action_transform=how), out=tmp_path / how, workers=1)
        for how in ("none", "clip")
    )
    assert clipped.agents[0].action_transform == "clip"
    assert np.nanmin(free.log["mean_reward"]) < -10 < np.nanmin(clipped.log["mean_reward"])


def test_ppo_m_is_ppo_without_its_optimizations() -> None:
    walker = TrainSettings.of_preset("ppo-m", environment="Walker2d-v5", seeds=2)
    assert (walker.ppo.anneal, walker.ppo.value_clip, walker.ppo.policy_learning_rate) == (False, None, 4e-4)
    assert (walker.initialization, walker.observation_clip, walker.normalize_rewards) == ("xavier", None, False)
    assert (walker.seeds, walker.normalize_observations) == (2, True)
    assert TrainSettings.of_preset("ppo-m", environment="Pendulum-v1").ppo.policy_learning_rate == 4.5e-4


def test_what_is_given_wins_over_a_preset() -> None:
    assert (
        TrainSettings.of_preset("paper", environment="walker2d", ppo=PPOSettings(), reward_clip=3.0).ppo
        == PPOSettings()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lucky",), "no preset 'lucky'"),
        (("paper", "Pendulum-v1"), "the paper has no settings for Pendulum-v1"),
        (("paper", "hopper", "vanilla"), "the paper has no settings for vanilla"),
        (("ppo-m", "hopper", "trpo"), "ppo-m is a kind of PPO"),
    ],
)
def test_presets_that_say_nothing_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainSettings.of_preset(*arguments)


def test_a_short_run_leaves_out_what_it_does_not_reach_of_the_default() -> None:
    short = dataclasses.replace(TINY, checkpoints=TrainSettings.checkpoints, steps=160 * 64)
    assert short.resolved().checkpoints == (0, 150, 160)
    assert short.resolved().resolved() == short.resolved()


def test_segments_end_at_checkpoints_and_after_ten_iterations() -> None:
    assert segment_bounds(TINY.resolved()) == [(0, 3), (3, 10), (10, 11), (11, 14)]


def test_iterations_are_the_same_in_any_segments() -> None:
    settings = TINY.resolved()
    seeds = [agent_seed(settings, 0)]
    agents = Agent.stack(initial_agents(settings, [0]))
    whole = train_segment(agents, settings, seeds, 0, 3)
    for iteration in range(3):
        agents, batch, *_ = gather(agents, settings, seeds, iteration)
        agents, _ = improve(agents, batch, settings, seeds, iteration)
    assert all(np.array_equal(whole[f"state.{name}"], tensor.numpy()) for name, tensor in agents.state.items())


def test_mean_reward_counts_finished_episodes_and_is_missing_without_one() -> None:
    class Sampled:
        n_policies = 2
        episodes = Episodes(
            policy=np.array([0, 0, 0, 1]),
            stream=np.zeros(4, np.int64),
            start=np.array([0, 3, 8, 0]),
            number=np.array([0, 1, 2, 0]),
            length=np.array([3, 5, 2, 10]),
            episode_return=np.array([1.0, 4.0, 100.0, 7.0]),
            finished=np.array([True, True, False, False]),
            return_beyond=np.zeros(4),
        )

    columns = episode_columns(Sampled())  # type: ignore[arg-type]
    np.testing.assert_array_equal(columns["mean_reward"], [2.5, np.nan])
    np.testing.assert_array_equal(columns["mean_length"], [4.0, np.nan])
    np.testing.assert_array_equal(columns["episodes"], [2.0, 0.0])


PLAIN = dataclasses.replace(TINY, ppo=PPOSettings(), seeds=2, steps=5 * 64, checkpoints=(0, 3))
OTHERS = {
    "trpo": TRPOSettings(value_epochs=2, minibatches=4),
    "natural": NaturalSettings(value_epochs=2, minibatches=4),
    "vanilla": VanillaSettings(value_epochs=2, minibatches=4),
}


@pytest.mark.parametrize("algorithm", OTHERS)
def test_other_algorithms_train_and_say_what_they_did(tmp_path: Path, algorithm: str) -> None:
    settings = dataclasses.replace(PLAIN, algorithm=algorithm, **{algorithm: OTHERS[algorithm]})
    run = train(settings, out=tmp_path / "one", workers=1)
    empty = {name for name in numbers_of(COLUMNS) if np.isnan(run.log[name]).all()}
    assert empty == {"clip_fraction"} | ({"quadratic_kl", *CG_COLUMNS} if algorithm == "vanilla" else set())
    agent = load(tmp_path / "one", seed=1)
    assert agent.algorithm == algorithm
    assert agent.algorithm_settings == dataclasses.asdict(OTHERS[algorithm])
    assert bool(agent.part("optimizer.policy")) == (algorithm == "vanilla")
    train(settings, out=tmp_path / "two", workers=2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


@pytest.mark.parametrize("algorithm", ["ppo", *OTHERS])
def test_agents_train_without_a_critic(tmp_path: Path, algorithm: str) -> None:
    settings = dataclasses.replace(PLAIN, algorithm=algorithm, baseline="none", bootstrap="paper")
    run = train(settings, out=tmp_path, workers=1)
    assert np.isnan(run.log["value_loss"]).all()
    assert np.isfinite(run.log["mean_kl"]).all()
    agent = load(tmp_path, seed=0)
    assert agent.value is None
    assert agent.bootstrap == "paper"
    assert not [name for name in agent.state if name.startswith(("value.", "optimizer.value."))]


def test_what_the_critic_learns_and_what_follows_a_cut_are_kept_with_the_agent(tmp_path: Path) -> None:
    settings = dataclasses.replace(PLAIN, ppo=TINY.ppo, value_target="returns", bootstrap="paper")
    run = train(settings, out=tmp_path, workers=1)
    agent = load(tmp_path, iteration=3, seed=0)
    assert (agent.value_target, agent.bootstrap) == ("returns", "paper")
    record = json.loads((tmp_path / "run.json").read_text())["settings"]
    assert (record["value_target"], record["bootstrap"], record["baseline"]) == ("returns", "paper", "value")
    other = train(dataclasses.replace(settings, value_target="gae"), out=tmp_path / "gae", workers=1)
    assert other.log["mean_reward"][0] == run.log["mean_reward"][0]
    assert (other.log["value_loss"] != run.log["value_loss"]).all()


@pytest.mark.parametrize(
    "changes", [{"n_envs": 3}, {"environment": "training_environments:make_bits"}, {"bootstrap": "paper"}]
)
def test_other_regimes_and_actions_train(tmp_path: Path, changes: dict) -> None:
    settings = dataclasses.replace(TINY, seeds=1, steps=6 * 64, checkpoints=(), **changes)
    run = train(settings, out=tmp_path, workers=1)
    assert np.isfinite(run.log["mean_kl"]).all()
    assert run.agents[0].iteration == settings.iterations


def test_neither_observations_nor_rewards_need_scaling(tmp_path: Path) -> None:
    settings = dataclasses.replace(
        TINY, seeds=1, steps=2 * 64, normalize_observations=False, normalize_rewards=False, checkpoints=(0,)
    )
    run = train(settings, out=tmp_path, workers=1)
    assert not run.agents[0].part("observations")
    assert load(tmp_path, iteration=0).iteration == 0


class Largest(Callback):
    """A user's own callback."""

    columns: ClassVar = {"largest_advantage": "largest advantage of the batch"}

    def on_update(self, before, after, batch, rollout):
        assert after.iteration is not None
        assert rollout.rewards.shape == tuple(batch.advantages.shape)
        return {"largest_advantage": batch.advantages.amax(dim=(1, 2)).double().numpy()}


def test_callbacks_add_columns_and_change_no_agent(tmp_path: Path, whole: Path) -> None:
    run = train(TINY, out=tmp_path, workers=2, callbacks=[Largest()])
    assert np.isfinite(run.log["largest_advantage"]).all()
    assert "largest_advantage" in pd.read_csv(tmp_path / "training.csv").columns
    for path in sorted(whole.glob("checkpoints/*/*/*.safetensors")):
        assert path.read_bytes() == (tmp_path / path.relative_to(whole)).read_bytes()
    with pytest.raises(InputError, match="holds another run"):
        train(TINY, out=tmp_path, workers=1)
    with pytest.raises(InputError, match="two callbacks add the column 'largest_advantage'"):
        train(TINY, out=tmp_path / "twice", callbacks=[Largest(), Largest()])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gamma": 1.0}, "leave out the audit of the critic"),
        ({"baseline": "none"}, "there is no critic to audit"),
    ],
)
def test_an_audit_that_means_nothing_is_refused(tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        train(dataclasses.replace(TINY, **changes), out=tmp_path, callbacks=[CriticAudit()])
    assert not list(tmp_path.iterdir())
