"""The monitor hooked into skrl: its training stays the same, and what is said of a batch is right."""

import gymnasium
import pytest
import torch

pytest.importorskip("skrl.agents.torch.ppo", reason="skrl is not installed")

from skrl.agents.torch.ppo import PPO
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.resources.preprocessors.torch import RunningStandardScaler
from skrl.trainers.torch import SequentialTrainer
from skrl.utils.model_instantiators.torch import deterministic_model, gaussian_model

import closerlook as cl
from closerlook.adapters.skrl import watch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
CHECKED = ("advantages", "returns", "log_probs", "update_sign")


def skrl_agent(*, scaled, bootstrap=True):
    torch.manual_seed(0)
    same_step = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
    env = wrap_env(gymnasium.make_vec("Pendulum-v1", num_envs=4, vectorization_mode="sync", vector_kwargs=same_step))
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space, "device": "cpu"}
    network = [{"name": "net", "input": "OBSERVATIONS", "layers": [16], "activations": "tanh"}]
    models = {
        "policy": gaussian_model(**spaces, network=network, output="ACTIONS"),
        "value": deterministic_model(**spaces, network=network, output="ONE"),
    }
    cfg = {"rollouts": 256, "learning_epochs": 2, "mini_batches": 4, "time_limit_bootstrap": bootstrap}
    cfg["experiment"] = {"write_interval": 0, "checkpoint_interval": 0}
    if scaled:
        cfg |= {"observation_preprocessor": RunningStandardScaler, "value_preprocessor": RunningStandardScaler}
        cfg["observation_preprocessor_kwargs"] = {"size": env.observation_space, "device": "cpu"}
        cfg["value_preprocessor_kwargs"] = {"size": 1, "device": "cpu"}
    memory = RandomMemory(memory_size=256, num_envs=4, device="cpu")
    agent = PPO(models=models, memory=memory, cfg=cfg, **spaces)
    trainer = SequentialTrainer(
        env=env, agents=agent, cfg={"timesteps": 512, "headless": True, "disable_progressbar": True}
    )
    return agent, trainer


@pytest.mark.parametrize("scaled", [False, True])
def test_skrl_is_watched(scaled):
    taken = []
    agent, trainer = skrl_agent(scaled=scaled)
    undo = watch(agent, cl.Monitor(every=1, sink=taken.append))
    trainer.train()
    assert [one.update for one in taken] == [1, 2]
    for one in taken:
        assert not one.findings.faults, str(one.findings)
        assert {one.findings[check].level for check in CHECKED} == {"ok"}
        assert 0 < one.numbers["mean_kl"] < 10
        assert one.numbers["truncated_share"] == 1.0
        assert not [said for said in one.statements if said.startswith("not measured")]
    undo()
    assert "update" not in vars(agent)


def test_skrl_trains_the_same_when_watched():
    trained = []
    for every in (None, 1):
        agent, trainer = skrl_agent(scaled=True)
        if every is not None:
            watch(agent, cl.Monitor(every=every, sink=()))
        trainer.train()
        trained.append([*agent.policy.parameters(), *agent.value.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*trained, strict=True))


def test_skrl_without_bootstrap_goes_on_through_time_limits():
    """Its default: what follows a truncated step is then the next episode, which lint names."""
    taken = []
    agent, trainer = skrl_agent(scaled=False, bootstrap=False)
    watch(agent, cl.Monitor(every=1, sink=taken.append))
    trainer.train()
    assert {one.findings["advantages"].diagnosis for one in taken} == {"truncation_ignored"}
