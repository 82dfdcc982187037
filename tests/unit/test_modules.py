"""What a user's module may be: copied as it is, freed of wrappers, or refused in one line."""

import pickle
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from closerlook.agents.agent import Agent
from closerlook.agents.modules import inputs_of_first_layer, named
from closerlook.errors import InputError

ROWS = torch.randn(5, 3, generator=torch.Generator().manual_seed(3))


def build(outputs):
    return Independent(Normal(outputs, 0.5), 1)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


def within(module):
    """The module as a part of another."""
    return nn.Sequential(module, nn.Identity())


def old_weight_norm(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(module[0])
    module(ROWS)
    return module


class Keeps(nn.Module):
    """Keeps what it computed, as to look at it later."""

    def __init__(self, net):
        super().__init__()
        self.net, self.seen = net, None

    def forward(self, observations):
        self.seen = self.net[0](observations)
        return self.net[2](torch.tanh(self.seen))


def keeping(module):
    keeps = Keeps(module)
    keeps(ROWS)
    return keeps


KINDS = {
    "torch.compile": lambda module: torch.compile(module, backend="eager"),
    "torch.compile within": lambda module: within(torch.compile(module, backend="eager")),
    "DataParallel": nn.DataParallel,
    "DataParallel within": lambda module: within(nn.DataParallel(module)),
    "both": lambda module: nn.DataParallel(torch.compile(module, backend="eager")),
    "the old weight_norm": old_weight_norm,
    "what it computed": keeping,
}


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch has no vmap of the old weight_norm
@pytest.mark.parametrize("kind", KINDS)
def test_wrappers_and_leftovers_change_no_number(kind):
    given, plain = KINDS[kind](network()), Agent.from_torch(network(), distribution=build)
    agent = Agent.from_torch(given, distribution=build)
    for _ in range(2):  # calls, alone and of a population, leave nothing behind that cannot travel
        agent = pickle.loads(pickle.dumps(agent.policy)), agent.policy_parameters
        policy, parameters = agent
        mean = policy.distribution(parameters, ROWS).mean
        torch.testing.assert_close(mean, plain.policy.distribution(plain.policy_parameters, ROWS).mean)
        stacked = {name: torch.stack([tensor, tensor]) for name, tensor in parameters.items()}
        torch.testing.assert_close(policy.distribution(stacked, ROWS.expand(2, 5, 3)).mean[1], mean)
        agent = Agent(policy, None, {f"policy.{name}": tensor for name, tensor in parameters.items()})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_modules_are_fed_their_own_precision(dtype):
    """In their own precision, and answer in that of the observations; so does the critic."""
    agent = Agent.from_torch(network().to(dtype), nn.Linear(3, 1).to(dtype), distribution=build)
    found = agent.policy.distribution(agent.policy_parameters, ROWS)
    assert (agent.policy_parameters["0.weight"].dtype, found.mean.dtype) == (dtype, torch.float32)
    torch.testing.assert_close(found.mean, network()(ROWS).detach())
    assert agent.value(agent.value_parameters, ROWS).dtype == torch.float32
    rounded = {name: tensor.float() for name, tensor in agent.policy_parameters.items()}
    torch.testing.assert_close(agent.policy.distribution(rounded, ROWS).mean, found.mean)
    acted = agent.policy.actor({name: tensor[None] for name, tensor in agent.policy_parameters.items()})
    assert acted(ROWS[None].numpy(), np.zeros((1, 5, 2))).dtype == np.float32


class Holds(nn.Linear):
    def __init__(self):
        super().__init__(3, 1)
        self.lock = threading.Lock()


REFUSED = {
    "half": (lambda: network().half(), r"0\.weight of the policy is float16.*policy\.float\(\)"),
    "bfloat16": (lambda: network().bfloat16(), "is bfloat16"),
    "complex": (lambda: nn.Linear(3, 1, dtype=torch.complex64), "is complex64"),
    "script": (lambda: torch.jit.script(network()), "compiled by torch.jit.*give the module that it was made from"),
    "trace within": (lambda: within(torch.jit.trace(network(), ROWS)), "compiled by torch.jit"),
    "meta": (lambda: network().to("meta"), r"0\.weight of the policy is on the device meta"),
    "lazy": (lambda: nn.LazyLinear(2), "weight of the policy has no shape yet; call the module once"),
    "a lock": (Holds, r"the copy of the policy failed \(TypeError: cannot pickle .*; keep what cannot be copied"),
    "a function": (lambda: torch.tanh, "the policy is a builtin_function_or_method; give a torch.nn.Module"),
    "no parameters": (nn.Tanh, "has no parameters"),
    "all frozen": (lambda: network().requires_grad_(False), r"they are frozen, with requires_grad=False"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_measured_is_refused_in_one_line(kind):
    make, message = REFUSED[kind]
    with pytest.raises(InputError, match=message) as caught:
        Agent.from_torch(make(), distribution=build)
    assert "\n" not in str(caught.value)


def test_critics_are_looked_at_too():
    with pytest.raises(InputError, match="weight of the critic is float16"):
        Agent.from_torch(network(), nn.Linear(3, 1).half(), distribution=build)


def body_frozen(module):
    module[0].requires_grad_(False)


def biases_frozen(module):
    module[0].bias.requires_grad_(False)
    module[2].bias.requires_grad_(False)


def head_frozen(module):
    module[2].weight.requires_grad_(False)


FROZEN = {
    body_frozen: (["2.weight", "2.bias"], r"0\.weight, 0\.bias of the policy are frozen"),
    biases_frozen: (["0.weight", "2.weight"], r"0\.bias, 2\.bias of the policy are frozen"),
    head_frozen: (["0.weight", "0.bias", "2.bias"], r"2\.weight of the policy is frozen.*: left out"),
}


@pytest.mark.parametrize("freeze", FROZEN)
def test_what_is_frozen_is_left_out_and_still_answers(freeze):
    module, (left, message) = network(), FROZEN[freeze]
    freeze(module)
    with pytest.warns(UserWarning, match=message):
        agent = Agent.from_torch(module, distribution=build)
    assert list(agent.policy.parameter_shapes) == left == list(agent.policy_parameters)
    assert list(agent.state) == [f"policy.{name}" for name in left]
    torch.testing.assert_close(agent.policy.distribution(agent.policy_parameters, ROWS).mean, network()(ROWS).detach())


@pytest.mark.filterwarnings("ignore:.*frozen")
def test_agents_that_differ_in_what_is_frozen_are_not_stacked():
    modules = [network(), network()]
    for module in modules:
        body_frozen(module)
    same = [Agent.from_torch(module, distribution=build) for module in modules]
    assert Agent.stack(same).population == 2
    with torch.no_grad():
        modules[1][0].weight += 1
    with pytest.raises(InputError, match=r"0\.weight of the agents' modules is frozen or a buffer, and differs"):
        Agent.stack([same[0], Agent.from_torch(modules[1], distribution=build)])


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(8), nn.TransformerEncoderLayer(8, 2)])
def test_evaluation_mode_is_told_where_it_matters(layer):
    with pytest.warns(UserWarning, match="the policy is measured in evaluation mode"):
        Agent.from_torch(nn.Sequential(nn.Linear(3, 8), layer, nn.Linear(8, 2)), distribution=build)
    quiet = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.0), nn.LayerNorm(8), nn.Linear(8, 2))
    Agent.from_torch(quiet, distribution=build)
    Agent.from_torch(nn.Sequential(nn.Linear(3, 8), layer, nn.Linear(8, 2)).eval(), distribution=build)


class LogStdFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.log_std = nn.Parameter(torch.zeros(1, 2))
        self.mean = network()


def test_the_size_of_an_observation_is_read_off_a_layer_not_off_a_matrix():
    assert inputs_of_first_layer(LogStdFirst()) == 3
    assert inputs_of_first_layer(nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2))) == 3
    assert inputs_of_first_layer(nn.LSTM(4, 2, batch_first=True)) == 4
    for unknown in (nn.Conv2d(1, 2, 3), nn.Sequential(nn.Embedding(5, 2), nn.Linear(2, 1)), nn.Bilinear(2, 2, 1)):
        assert inputs_of_first_layer(unknown) is None


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "3"])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(InputError, match="observation_size must be a whole number of at least 1"):
        Agent.from_torch(network(), distribution=build, observation_size=size)


def test_of_many_names_the_first_are_told():
    assert named(list("abc")) == "a, b, c"
    assert named(list("abcdef")) == "a, b, c, d and 2 more"
