"""Users' networks are tried on what their environment gives; what cannot be measured is found there, and named."""

import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, Laplace, Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform, TanhTransform

import closerlook
from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.identity import probe
from closerlook.agents.trial import try_out, warn_of_unreached
from closerlook.errors import InputError, NonFiniteError, PolicyError
from closerlook.simulation.rollout import Sampling, rollout

ROWS = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
MASKED, ROOMS = EnvironmentSpec("choosy_environments:Masked"), EnvironmentSpec("choosy_environments:Rooms")


def normal(mean):
    return Independent(Normal(mean, 0.5), 1)


def choice(logits):
    return Categorical(logits=logits)


class Lambda(nn.Module):
    """A linear layer, and what is made of it."""

    def __init__(self, forward, inputs=3, outputs=1):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.answer = nn.Linear(inputs, outputs), forward

    def forward(self, observations):
        return self.answer(self.net, observations)


def masked(net, observations):
    """No action is open to zeros, and torch then refuses logits that are all -inf."""
    return net(observations[:, :2]).masked_fill(observations[:, 2:] < 0.5, -torch.inf)


def measured(module, distribution, environment, **fields):
    agent = Agent.from_torch(module, distribution=distribution, regime=Regime(1, 32), **fields)
    return closerlook.gradient_quality(agent, environment, pairs=640, sizes=[32], seed=0, workers=1)


class Embedded(nn.Module):
    """Knows rooms 3 to 6 alone."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rooms, self.head = nn.Embedding(4, 8), nn.Linear(8, 2)

    def forward(self, observations):
        return self.head(self.rooms(observations[:, 0].long() - 3))


class Convolved(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv2d(1, 2, 3), nn.Linear(32, 1)

    def forward(self, observations):
        return self.head(torch.relu(self.body(observations.view(-1, 1, 6, 6))).flatten(1))


def one_hot(net, observations):
    """Raises where a number is no room."""
    return net(nn.functional.one_hot(observations[:, 0].long() - 3, 4).float())


CHOOSY = {
    "a mask": (lambda: Lambda(masked, 2, 5), choice, MASKED),
    "a mask in probabilities": (
        lambda: Lambda(lambda net, x: masked(net, x).softmax(-1), 2, 5),
        lambda p: Categorical(probs=p),
        MASKED,
    ),
    "whole numbers": (Embedded, choice, ROOMS),
    "one hot": (lambda: Lambda(one_hot, 4, 2), choice, ROOMS),
    "images": (Convolved, normal, EnvironmentSpec("choosy_environments:Pixels")),
}


@pytest.mark.parametrize("kind", CHOOSY)
def test_networks_are_tried_and_padded_with_what_the_environment_gives(kind):
    make, distribution, environment = CHOOSY[kind]
    found = measured(make(), distribution, environment)
    assert np.isfinite(found["pairwise_cosine"].values).all()


@pytest.mark.parametrize("kind", ["a mask", "whole numbers"])
def test_no_row_depends_on_lanes_or_padding(kind):
    make, distribution, environment = CHOOSY[kind]
    agent = Agent.from_torch(make(), nn.Linear(7 if kind == "a mask" else 1, 1), distribution=distribution)
    few, many = (
        rollout(agent, environment, Sampling(24), seeds=[1], purpose="test", streams=range(5), lanes=lanes)
        for lanes in (1, 5)
    )
    np.testing.assert_array_equal(few.actions, many.actions)
    np.testing.assert_array_equal(few.rewards, many.rewards)


def finite(net, observations):
    """The same with a very negative logit in place of none."""
    return net(observations[:, :2]).masked_fill(observations[:, 2:] < 0.5, -1e8)


@pytest.mark.parametrize(
    ("algorithm", "settings"), [("trpo", {}), ("ppo", {"policy_epochs": 3, "value_epochs": 3, "minibatches": 8})]
)
def test_masked_choices_are_measured_as_those_that_are_all_but_masked(algorithm, settings):
    same = {"algorithm": algorithm, "algorithm_settings": settings, "distribution": choice, "regime": Regime(1, 64)}
    found = [
        closerlook.trust_region(
            Agent.from_torch(Lambda(mask, 2, 5), nn.Linear(7, 1), **same),
            MASKED, repeats=2, pairs=64, return_pairs=0, seed=0, workers=1,
        )
        for mask in (masked, finite)
    ]  # fmt: skip
    for name in ("mean_kl_batch", "max_ratio", "quadratic_kl"):
        assert np.isfinite(found[0][name].values).all()
        np.testing.assert_allclose(found[0][name].values, found[1][name].values, rtol=1e-4, atol=1e-8)


def standardized(net, observations):
    return net((observations - observations.mean(0)) / (observations.std(0) + 1e-6))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.body, self.head = kind(3, 8), nn.Linear(8, 1)

    def forward(self, observations):
        return self.head(self.body(observations)[0])


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.MultiheadAttention(3, 1)

    def forward(self, observations):
        return self.net(observations, observations, observations)[0][:, :1]


DEPENDENT = {
    "a recurrent layer": lambda: Recurrent(nn.LSTM),
    "another": lambda: Recurrent(nn.GRU),
    "attention between rows": Attends,
    "standardized": lambda: Lambda(standardized),
    "centered": lambda: Lambda(lambda net, x: net(x - x.mean(0))),
    "batch norm without statistics": lambda: nn.Sequential(
        nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 1)
    ),
    "the largest row": lambda: Lambda(lambda net, x: net(x) / net(x).abs().max()),
    "its place": lambda: Lambda(lambda net, x: net(x) + torch.arange(len(x))[:, None]),
    "a deviation for all": lambda: Lambda(lambda net, x: (net(x), x.std(0)[:1] + 1)),
    "how many there are": lambda: Lambda(lambda net, x: net(x) / len(x)),
}


@pytest.mark.filterwarnings("ignore:the policy is measured in evaluation mode")
@pytest.mark.parametrize("kind", DEPENDENT)
def test_rows_that_depend_on_one_another_are_refused(kind):
    def build(outputs):
        return normal(outputs if isinstance(outputs, torch.Tensor) else outputs[0] * outputs[1])

    with pytest.raises(InputError, match=r"otherwise alone than among others.*let each row of \[N, obs\]"):
        try_out(Agent.from_torch(DEPENDENT[kind](), distribution=build), ROWS, "here")


def test_so_are_those_of_the_distribution_and_of_the_critic():
    mixed = Agent.from_torch(nn.Linear(3, 1), distribution=lambda mean: normal(mean - mean.mean(0)))
    with pytest.raises(InputError, match="the agent's policy answers an observation otherwise alone"):
        try_out(mixed, ROWS, "here")
    critic = Agent.from_torch(nn.Linear(3, 1), Recurrent(nn.LSTM), distribution=normal)
    with pytest.raises(InputError, match="the agent's critic answers an observation otherwise alone"):
        try_out(critic, ROWS, "here")


class OneStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.LSTM(3, 8, batch_first=True), nn.Linear(8, 1)

    def forward(self, observations):
        return self.head(self.body(observations[:, None])[0][:, 0])


ALONE = {
    "a recurrent layer of one step": OneStep,
    "batch norm": lambda: nn.Sequential(nn.Linear(3, 64), nn.BatchNorm1d(64), nn.Linear(64, 1)).eval(),
    "layer norm": lambda: nn.Sequential(nn.Linear(3, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 1)),
    "a large network": lambda: nn.Sequential(
        nn.Linear(3, 512), nn.Tanh(), nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 1)
    ),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 1)).eval(),
    "large answers": lambda: Lambda(lambda net, x: 1e6 * net(x)),
    "a deviation for all": lambda: Lambda(lambda net, x: (net(x), net.bias)),
}


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("kind", ALONE)
def test_rows_that_do_not_are_taken_whatever_the_last_bits(kind, scale):
    def build(outputs):
        return normal(outputs if isinstance(outputs, torch.Tensor) else outputs[0])

    agent = try_out(Agent.from_torch(ALONE[kind](), distribution=build), scale * ROWS, "here")
    assert agent.policy.noise.kind == "normal"
    torch.testing.assert_close(agent.policy.example, torch.from_numpy(scale * ROWS))


def test_a_policy_that_is_random_beyond_its_distribution_is_refused():
    noisy = Lambda(lambda net, x: net(x) + torch.randn(1))
    with pytest.raises(InputError, match=r"answers the same observations in two ways.*take what is random"):
        try_out(Agent.from_torch(noisy, distribution=normal), ROWS, "here")


class Captured(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.log_std = nn.Linear(3, 1), nn.Parameter(torch.zeros(1))

    def forward(self, observations):
        return self.net(observations)


class TwoHeads(nn.Module):
    """A critic's head among the policy's parameters, as in many a single file."""

    def __init__(self):
        super().__init__()
        self.actor, self.critic = nn.Linear(3, 1), nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, observations):
        return self.actor(observations)


def detached_body(module, observations):
    return module(observations.detach()) * torch.ones(1).detach()


UNREACHED = {
    "a closure": (Captured, r"log_std of the policy does not reach its distribution"),
    "a critic": (
        TwoHeads,
        r"critic\.0\.weight, critic\.0\.bias, critic\.2\.weight, critic\.2\.bias of the policy do not",
    ),
    "a weight that is detached": (
        lambda: Lambda(lambda net, x: nn.functional.linear(x, net.weight.detach(), net.bias)),
        r"net\.weight of the policy does not",
    ),
}


@pytest.mark.parametrize("kind", UNREACHED)
def test_parameters_that_do_not_reach_the_distribution_are_named(kind):
    make, message = UNREACHED[kind]
    module = make()

    def build(mean):
        return Independent(Normal(mean, getattr(module, "log_std", torch.zeros(1)).exp()), 1)

    with pytest.warns(UserWarning, match=message):
        warn_of_unreached(try_out(Agent.from_torch(module, distribution=build), ROWS, "here"))


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net(x).detach(),
        lambda net, x: torch.from_numpy(x.numpy()[:, :1]),
        lambda net, x: torch.no_grad()(net)(x),
    ],
)
def test_where_none_does_the_policy_is_refused(forward):
    agent = try_out(Agent.from_torch(Lambda(forward), distribution=normal), ROWS, "here")
    with pytest.raises(
        InputError, match=r"no parameter of the policy reaches its distribution \(net\.weight, net\.bias\)"
    ):
        warn_of_unreached(agent)


def test_all_that_reach_it_are_not_named():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_unreached(try_out(Agent.from_torch(nn.Linear(3, 1), distribution=normal), ROWS, "here"))


def test_the_environment_knows_the_size_of_an_observation():
    """The log deviation is the module's first parameter, and a matrix, as in many a single file."""

    class Usual(nn.Module):
        def __init__(self):
            super().__init__()
            self.log_std, self.mean = nn.Parameter(torch.zeros(1, 1)), nn.Linear(3, 1)

        def forward(self, observations):
            mean = self.mean(observations)
            return mean, self.log_std.expand_as(mean)

    agent = Agent.from_torch(Usual(), distribution=lambda o: Independent(Normal(o[0], o[1].exp()), 1))
    assert agent.policy.observation_size == 3
    assert rollout(agent, EnvironmentSpec("Pendulum-v1"), Sampling(2), seeds=[0], purpose="x", streams=[0]).pairs == 2
    part = Lambda(lambda net, x: net(x[:, :2]), inputs=2)
    assert try_out(Agent.from_torch(part, distribution=normal), ROWS, "here").policy.observation_size == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"takes observations of 4 numbers, as its first layer does, here gives 3.*\(observation_size=\.\.\.\)"),
        ({"observation_size": 4}, "takes observations of 4 numbers, here gives 3"),
        (
            {"observation_mean": [0.0] * 4, "observation_var": [1.0] * 4},
            "takes observations of 4 numbers, here gives 3",
        ),
        ({"observation_size": 3}, r"the agent's policy failed \(RuntimeError: mat1 and mat2"),
    ],
)
def test_another_size_is_named(fields, message):
    with pytest.raises(InputError, match=message):
        try_out(Agent.from_torch(nn.Linear(4, 1), distribution=normal, **fields), ROWS, "here")


def squashed(mean):
    return TransformedDistribution(Independent(Normal(mean, 6.0), 1), [TanhTransform()])


EDGES = {
    "a squashed normal": squashed,
    "a squashed Laplace": lambda m: TransformedDistribution(Independent(Laplace(m, 4.0), 1), [TanhTransform()]),
    "one that is rescaled": lambda m: TransformedDistribution(squashed(m), [AffineTransform(0.0, 2.0, event_dim=1)]),
}


@pytest.mark.parametrize("kind", EDGES)
def test_a_density_that_is_not_finite_is_found_where_it_arises(kind):
    torch.manual_seed(0)
    agent = Agent.from_torch(nn.Linear(3, 1), distribution=EDGES[kind])
    where = EnvironmentSpec("Pendulum-v1")
    with pytest.raises(NonFiniteError, match=r"not every log probability of an action is finite") as caught:
        rollout(agent, where, Sampling(64), seeds=[0], purpose="test", streams=range(4))
    stream, step = (int(n) for n in re.search(r"stream (\d+), step (\d+) \(a distribution", str(caught.value)).groups())
    if step:  # before it all was well: the stream is sampled up to there
        before = rollout(agent, where, Sampling(step), seeds=[0], purpose="test", streams=[stream])
        assert before.pairs == step
    with pytest.raises(NonFiniteError):
        rollout(agent, where, Sampling(step + 1), seeds=[0], purpose="test", streams=[stream])


def test_in_a_population_it_is_the_policys_own():
    """The first is narrow, the second is not."""
    agents = [
        Agent.from_torch(Scaled(scale), distribution=lambda o: TransformedDistribution(normal(o), [TanhTransform()]))
        for scale in (0.0, 1e3)
    ]
    with pytest.raises(NonFiniteError, match="look at policy 1, stream 2, step 0"):
        rollout(
            Agent.stack(agents), EnvironmentSpec("Pendulum-v1"), Sampling(4), seeds=[0, 0], purpose="test", streams=[2]
        )


class Scaled(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), scale))

    def forward(self, observations):
        return observations[:, :1] * self.scale + self.scale


def test_episodes_alone_need_no_density():
    """True rewards of a policy are known where its gradient is not."""
    agent = Agent.from_torch(nn.Linear(3, 1), distribution=squashed)
    episodes = closerlook.simulation.rollout.rollout_episodes(
        agent, EnvironmentSpec("Pendulum-v1"), Sampling(64), seeds=[0], purpose="test", streams=range(4)
    )
    assert np.isfinite(episodes.episode_return).all()


def without_width(mean):
    """A normal of no width in one stream's last steps: its actions are finite, their densities are not."""
    return Independent(Normal(mean, (mean.abs() < 1.5).float(), validate_args=False), 1)


@pytest.mark.parametrize(
    ("forward", "distribution", "message"),
    [
        (lambda net, x: 0 * net(x) + x[:, :1], without_width, r"action of step 2 in stream 0 is not finite"),
        (lambda net, x: (net(x) - net(x)).sqrt() + net(x), normal, r"the score in stream 0 is not finite"),
    ],
)
def test_a_score_that_is_not_finite_is_named(forward, distribution, message):
    with pytest.raises(NonFiniteError, match=message):
        measured(Lambda(forward, inputs=2), distribution, EnvironmentSpec("tiny_environments:Corridor", {"length": 4}))


def test_what_is_not_given_again_does_not_name_an_agent():
    def key(environment):
        torch.manual_seed(0)
        agent = Agent.from_torch(nn.Linear(2, 1), distribution=normal)
        return probe(closerlook.diagnostics.common.checks.tried([agent], EnvironmentSpec(environment))[0])

    unrepeatable = key("choosy_environments:Unrepeatable")
    assert unrepeatable["actions"] is None
    assert unrepeatable["state"].keys() == {"policy.weight", "policy.bias"}
    again = [key("tiny_environments:Corridor") for _ in range(2)]
    np.testing.assert_array_equal(again[0]["actions"], again[1]["actions"])


def test_a_policy_that_fails_on_its_environment_is_named():
    with pytest.raises(PolicyError, match=r"the agent's policy failed \(IndexError: index out of range"):
        try_out(Agent.from_torch(Embedded(), distribution=choice), np.zeros((4, 1), np.float32), "here")
