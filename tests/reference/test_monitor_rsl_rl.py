"""The monitor hooked into rsl_rl: its training stays the same, and what is said of a batch is right."""

import pytest
import torch

pytest.importorskip("rsl_rl", reason="rsl-rl-lib is not installed")

from rsl_rl.env import VecEnv
from rsl_rl.runners import OnPolicyRunner
from tensordict import TensorDict

import closerlook as cl
from closerlook.adapters.rsl_rl import watch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
CHECKED = ("advantages", "returns", "log_probs", "update_sign")


def world(environments=6, limit=9):
    """A noisy linear world in rsl_rl's terms: its episodes end by chance, or by a time limit."""

    class World(VecEnv):
        num_envs, num_actions, max_episode_length, device, cfg = environments, 2, limit, "cpu", {}

        def __init__(self):
            self.draws = torch.Generator().manual_seed(0)
            self.episode_length_buf = torch.zeros(environments, dtype=torch.long)
            self.state = torch.randn(environments, 3, generator=self.draws)

        def get_observations(self):
            return TensorDict({"policy": self.state.clone(), "more": self.state[:, :1] ** 2}, [environments])

        def step(self, actions):
            noise = torch.randn(environments, 3, generator=self.draws)
            self.state = 0.9 * self.state + 0.3 * actions[:, :1] + 0.3 * noise
            reward = 1.0 - self.state[:, 0] ** 2 - 0.1 * actions[:, 1] ** 2
            self.episode_length_buf += 1
            fell = torch.rand(environments, generator=self.draws) < 0.05
            late = (self.episode_length_buf >= limit) & ~fell
            over = fell | late
            self.state[over] = torch.randn(int(over.sum()), 3, generator=self.draws) + 2.0
            self.episode_length_buf[over] = 0
            return self.get_observations(), reward, over, {"time_outs": late}

    return World()


def runner(distribution="GaussianDistribution", **algorithm):
    torch.manual_seed(0)
    model = {"class_name": "MLPModel", "hidden_dims": [16], "activation": "elu", "obs_normalization": True}
    cfg = {
        "num_steps_per_env": 24,
        "save_interval": 100,
        "obs_groups": {"actor": ["policy"], "critic": ["policy", "more"]},
        "actor": {**model, "distribution_cfg": {"class_name": distribution}},
        "critic": dict(model),
        "algorithm": {"class_name": "PPO", **algorithm},
    }
    return OnPolicyRunner(world(), cfg)


@pytest.mark.parametrize("per_minibatch", [False, True])
@pytest.mark.parametrize("distribution", ["GaussianDistribution", "HeteroscedasticGaussianDistribution"])
def test_rsl_rl_is_watched(distribution, per_minibatch):
    taken = []
    watched = runner(distribution, normalize_advantage_per_mini_batch=per_minibatch)
    undo = watch(watched, cl.Monitor(every=1, sink=taken.append))
    watched.learn(4)
    assert [one.update for one in taken] == [1, 2, 3, 4]
    for one in taken:
        assert not one.findings.faults, str(one.findings)
        assert {one.findings[check].level for check in CHECKED} == {"ok"}
        assert 0 < one.numbers["mean_kl"] < 10
        assert one.numbers["gradient_groups"] >= 4
        assert "explained_variance_lambda_after" in one.numbers
        assert not [said for said in one.statements if said.startswith("not measured")]
    undo()
    watched.learn(1)
    assert len(taken) == 4


def test_rsl_rl_trains_the_same_when_watched():
    trained = []
    for every in (None, 1, 2):
        own = runner()
        if every is not None:
            watch(own, cl.Monitor(every=every, sink=()))
        own.learn(3)
        trained.append([*own.alg.actor.parameters(), *own.alg.critic.parameters()])
    for other in trained[1:]:
        assert all(torch.equal(one, two) for one, two in zip(trained[0], other, strict=True))


def test_faults_of_rsl_rl_are_found():
    taken = []
    broken = runner(normalize_advantage_per_mini_batch=True)
    watch(broken, cl.Monitor(every=1, sink=taken.append))
    collect = broken.alg.compute_returns

    def compute_returns(obs):
        broken.alg.storage.rewards[:] = torch.roll(broken.alg.storage.rewards, 1, 0)
        collect(obs)
        broken.alg.storage.rewards[:] = torch.roll(broken.alg.storage.rewards, -1, 0)

    broken.alg.compute_returns = compute_returns
    broken.learn(1)
    assert taken[0].findings["advantages"].diagnosis == "rewards_shifted"


def test_bounded_actions_are_refused():
    with pytest.raises(cl.InputError, match="BetaDistribution"):
        watch(runner("BetaDistribution"), cl.Monitor())
