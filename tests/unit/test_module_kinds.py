"""Kinds of modules that people give as policies: the gradient is their own, to 1e-6, or one line names why not."""

import warnings
from collections.abc import Callable
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint

from closerlook.agents.agent import Agent
from closerlook.agents.trial import try_out, warn_of_unreached
from closerlook.errors import InputError
from closerlook.nn.gradients import autograd_score_sums

ROWS = torch.randn(16, 3, generator=torch.Generator().manual_seed(3))
ACTIONS = torch.randn(16, 2, generator=torch.Generator().manual_seed(4))
WEIGHTS = torch.randn(16, generator=torch.Generator().manual_seed(5))

pytestmark = [
    pytest.mark.filterwarnings("ignore:There is a performance drop"),  # torch has no vmap of the old weight_norm
    pytest.mark.filterwarnings("ignore:the policy is measured in evaluation mode"),
    pytest.mark.filterwarnings("ignore:.*frozen"),
]


def normal(mean: Tensor) -> Independent:
    return Independent(Normal(mean, 0.5), 1)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


class Forward(nn.Module):
    """Modules by name, and a function of them and the observations."""

    def __init__(self, call: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.call = call
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, observations: Tensor) -> Any:
        return self.call(self, observations)


def changed(change: Callable[[nn.Sequential], Any]) -> nn.Sequential:
    """Change a network in place."""
    net = network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old ways are deprecated
        change(net)
    return net


def tied() -> nn.Module:
    """One weight there and back."""
    net = Forward(lambda self, seen: self.back(torch.tanh(self.there(seen)))[:, :2], there=nn.Linear(3, 8))
    net.back = nn.Linear(8, 3)
    net.back.weight = nn.Parameter(net.there.weight.detach().T.clone())
    net.mirror = nn.Linear(3, 8)
    net.mirror.weight = net.there.weight
    net.call = lambda self, seen: self.back(torch.tanh(self.there(seen) + self.mirror(seen)))[:, :2]
    return net


def in_place(self: Any, seen: Tensor) -> Tensor:
    hidden = self.body(seen)
    hidden.mul_(2.0).tanh_()
    return self.head(hidden)


def keeping(self: Any, seen: Tensor) -> Tensor:
    """Keeps what it does not use again."""
    self.last, self.calls = seen, getattr(self, "calls", 0) + 1
    return self.body(seen)


def recurrent(self: Any, seen: Tensor) -> Tensor:
    return self.head(self.rnn(seen[:, None])[0][:, 0])


def looked_at(net: nn.Sequential) -> None:
    """Hooks before, after and on the way back."""
    net[0].register_forward_pre_hook(lambda module, given: (given[0] * 2.0,))
    net[0].register_forward_hook(lambda module, given, answer: answer + 1.0)
    net[2].register_full_backward_hook(lambda module, given, gone: (given[0] * 0.5,))


def materialized() -> nn.Module:
    net = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(2))
    net(ROWS)
    return net


def made_in_inference() -> nn.Module:
    with torch.inference_mode():
        return network()


def averaging() -> nn.Module:
    """Batch norm in training mode, which has seen something."""
    net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))
    net(ROWS * 3)
    return net


class Doubled(nn.Module):
    """A parametrization of one's own."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2.0 * weight


def with_free_deviation(answer: Callable[[Tensor, Tensor], Any]) -> nn.Module:
    net = Forward(lambda self, seen: answer(self.body(seen), self.log_std), body=network())
    net.log_std = nn.Parameter(torch.tensor([[-0.5, 0.25]]))
    return net


def of_both(answer: tuple[Tensor, Tensor]) -> Independent:
    return Independent(Normal(answer[0], answer[1].exp()), 1)


def of_dict(answer: dict[str, Tensor]) -> Independent:
    return Independent(Normal(answer["mean"], answer["log_std"].exp()), 1)


Case = tuple[Callable[[], nn.Module], Callable[[Any], Any]]

MEASURED: dict[str, Case] = {
    "plain": (network, normal),
    "a sequential with a head of one's own": (lambda: nn.Sequential(network(), Forward(lambda self, x: 2 * x)), normal),
    "torch.compile": (lambda: torch.compile(network(), backend="eager"), normal),
    "DataParallel": (lambda: nn.DataParallel(network()), normal),
    "the old weight_norm": (lambda: changed(lambda net: nn.utils.weight_norm(net[0])), normal),
    "the new weight_norm": (lambda: changed(lambda net: parametrizations.weight_norm(net[0])), normal),
    "spectral_norm": (lambda: changed(lambda net: parametrizations.spectral_norm(net[0])), normal),
    "orthogonal": (lambda: changed(lambda net: parametrizations.orthogonal(net[0])), normal),
    "a parametrization of one's own": (
        lambda: changed(lambda net: parametrize.register_parametrization(net[0], "weight", Doubled())),
        normal,
    ),
    "pruned": (lambda: changed(lambda net: prune.l1_unstructured(net[0], "weight", 0.5)), normal),
    "double": (lambda: network().double(), normal),
    "mixed precision": (
        lambda: Forward(
            lambda self, x: self.head(self.body(x).float()), body=nn.Linear(3, 8).double(), head=nn.Linear(8, 2)
        ),
        normal,
    ),
    "a frozen body": (lambda: changed(lambda net: net[0].requires_grad_(requires_grad=False)), normal),
    "batch norm in training mode": (averaging, normal),
    "dropout in training mode": (lambda: nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2)), normal),
    "layer norm": (lambda: nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 2)), normal),
    "a lazy module that was called": (materialized, normal),
    "hooks": (lambda: changed(looked_at), normal),
    "tied weights": (tied, normal),
    "a tuple": (lambda: with_free_deviation(lambda mean, log_std: (mean, log_std)), of_both),
    "a dict": (lambda: with_free_deviation(lambda mean, log_std: {"mean": mean, "log_std": log_std}), of_dict),
    "a step of a GRU": (
        lambda: Forward(recurrent, rnn=nn.GRU(3, 8, batch_first=True), head=nn.Linear(8, 2)),
        normal,
    ),
    "a GRU cell": (
        lambda: Forward(lambda self, x: self.head(self.cell(x)), cell=nn.GRUCell(3, 8), head=nn.Linear(8, 2)),
        normal,
    ),
    "convolutions of a row": (
        lambda: nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)),
        normal,
    ),
    "attention within a row": (
        lambda: Forward(
            lambda self, x: self.mixed(x[..., None], x[..., None], x[..., None])[0][:, :2, 0],
            mixed=nn.MultiheadAttention(1, 1, batch_first=True),
        ),
        normal,
    ),
    "what it keeps and does not use": (lambda: Forward(keeping, body=network()), normal),
    "in place, on its own numbers": (lambda: Forward(in_place, body=nn.Linear(3, 8), head=nn.Linear(8, 2)), normal),
    "a part detached": (
        lambda: Forward(lambda self, x: self.head(x) + self.head(x).detach().tanh(), head=nn.Linear(3, 2)),
        normal,
    ),
    "a graph of torch.fx": (lambda: torch.fx.symbolic_trace(network()), normal),
    "made in inference mode": (made_in_inference, normal),
    "in place, on what it is given": (lambda: Forward(lambda self, x: self.body(x.mul_(2.0)), body=network()), normal),
    "sparse embeddings of whole numbers": (
        lambda: Forward(lambda self, x: self.table((x[:, 0] > 0).long()), table=nn.Embedding(2, 2, sparse=True)),
        normal,
    ),
    "another way for each batch": (
        lambda: Forward(lambda self, x: self.body(x) if x.sum() > 0 else self.body(x) * 1.0, body=network()),
        normal,
    ),
    "checkpoints of activations": (
        lambda: Forward(lambda self, x: checkpoint(self.body, x, use_reentrant=False), body=network()),
        normal,
    ),
    "synchronized batch norm": (lambda: nn.Sequential(nn.Linear(3, 8), nn.SyncBatchNorm(8), nn.Linear(8, 2)), normal),
}


def fixed_seed(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make()


def gradient(agent: Agent) -> dict[str, np.ndarray]:
    """Return what workers add up, by parameter."""
    policy = agent.policy
    found = autograd_score_sums(policy, agent.policy_parameters, ROWS, ACTIONS, [WEIGHTS[None]])[0][0]
    sizes = [int(np.prod(shape)) for shape in policy.parameter_shapes.values()]
    return dict(zip(policy.parameter_shapes, np.split(found, np.cumsum(sizes)[:-1]), strict=True))


def by_hand(module: nn.Module, distribution: Callable[[Any], Any]) -> dict[str, np.ndarray]:
    """Call the user's module as it is, and let torch differentiate."""
    module = module.eval()
    own = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    rows = ROWS.to(next(module.parameters()).dtype, copy=True)  # some change what they are given
    density = distribution(module(rows)).log_prob(ACTIONS)
    slopes = torch.autograd.grad((density * WEIGHTS).sum(), [parameter for _, parameter in own])
    names = [name.removeprefix("_orig_mod.").removeprefix("module.") for name, _ in own]
    return {name: slope.to_dense().double().numpy().ravel() for name, slope in zip(names, slopes, strict=True)}


@pytest.mark.parametrize("kind", MEASURED)
def test_a_kind_has_its_own_gradient(kind: str) -> None:
    """Also once it has travelled to a worker."""
    make, distribution = MEASURED[kind]
    agent = try_out(Agent.from_torch(fixed_seed(make), distribution=distribution), ROWS.numpy(), "the test")
    reference = fixed_seed(network if kind == "made in inference mode" else make)
    expected = by_hand(reference, distribution)
    travelled = cloudpickle.loads(cloudpickle.dumps(agent))
    for one in (agent, travelled):
        found = gradient(one)
        assert found.keys() == expected.keys()
        largest = max(np.abs(slope).max() for slope in expected.values())
        for name, slope in expected.items():
            np.testing.assert_allclose(found[name], slope, rtol=0, atol=1e-6 * largest, err_msg=name)


def hooked(net: nn.Sequential) -> None:
    net[0].weight.register_hook(lambda slope: 0.1 * slope)


def hooked_afterwards(net: nn.Sequential) -> None:
    net[2].bias.register_post_accumulate_grad_hook(lambda parameter: parameter.grad.zero_())


def quantized(net: nn.Sequential) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)


def remembering(self: Any, seen: Tensor) -> Tensor:
    self.sum = getattr(self, "sum", 0.0) + seen.mean()
    return self.body(seen) + self.sum


def counting(self: Any, seen: Tensor) -> Tensor:
    self.body[0].bias.data += 0.1  # as a schedule would
    return self.body(seen)


TWO_WAYS = "answers the same observations in two ways"
AMONG_OTHERS = "answers an observation otherwise alone than among others"
NOT_TENSORS = "not tensors that distribution takes"

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "torch.jit.script": (
        lambda: torch.jit.script(network()),
        r"compiled by torch\.jit.*the module that it was made",
    ),
    "torch.jit.trace": (lambda: torch.jit.trace(network(), ROWS), r"compiled by torch\.jit"),
    "half": (lambda: network().half(), "is float16, too coarse"),
    "bfloat16": (lambda: network().bfloat16(), "is bfloat16, too coarse"),
    "float8": (lambda: nn.Linear(3, 2).to(torch.float8_e4m3fn), "is float8_e4m3fn, too coarse"),
    "meta": (lambda: network().to("meta"), "on the device meta, without numbers"),
    "lazy": (lambda: nn.LazyLinear(2), "has no shape yet; call the module once"),
    "quantized": (lambda: quantized(network()), r"is quantized \(Linear\), and whole numbers have no gradient"),
    "quantized in part": (lambda: quantized(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))), "is quantized"),
    "a hook on a gradient": (lambda: changed(hooked), r"0\.weight of the policy has a hook on its gradient"),
    "a hook after it": (lambda: changed(hooked_afterwards), r"2\.bias of the policy has a hook on its gradient"),
    "a memory": (lambda: Forward(remembering, body=network()), TWO_WAYS),
    "a schedule of its own": (lambda: Forward(counting, body=network()), TWO_WAYS),
    "noise": (lambda: Forward(lambda self, x: self.body(x) + torch.randn(len(x), 2), body=network()), TWO_WAYS),
    "dropout always": (
        lambda: Forward(lambda self, x: nn.functional.dropout(self.body(x), 0.5, training=True), body=network()),
        TWO_WAYS,
    ),
    "a GRU over rows": (
        lambda: Forward(lambda self, x: self.head(self.rnn(x)[0]), rnn=nn.GRU(3, 8), head=nn.Linear(8, 2)),
        AMONG_OTHERS,
    ),
    "batch norm without statistics": (
        lambda: nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), network()),
        AMONG_OTHERS,
    ),
    "attention between rows": (
        lambda: Forward(lambda self, x: self.mixed(x, x, x)[0][:, :2], mixed=nn.MultiheadAttention(3, 1)),
        AMONG_OTHERS,
    ),
    "no gradient": (
        lambda: Forward(lambda self, x: torch.no_grad()(self.body)(x), body=network()),
        "no parameter of the policy reaches its distribution",
    ),
    "a second argument": (
        lambda: Forward(lambda self, x, state: self.body(x), body=network()),
        "missing 1 required positional argument: 'state'",
    ),
    "arrays": (lambda: Forward(lambda self, x: self.body(x).detach().numpy(), body=network()), NOT_TENSORS),
    "a distribution": (lambda: Forward(lambda self, x: normal(self.body(x)), body=network()), NOT_TENSORS),
    "a batch of one": (
        lambda: Forward(lambda self, x: self.body(x.reshape(3)), body=network()),
        "shape '\\[3\\]' is invalid",
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_a_kind_that_has_none_is_refused_by_its_cause(kind: str) -> None:
    make, told = REFUSED[kind]
    with pytest.raises(InputError, match=told) as caught:
        warn_of_unreached(
            try_out(Agent.from_torch(fixed_seed(make), distribution=normal), ROWS.numpy().copy(), "the test")
        )
    assert "\n" not in str(caught.value)


def test_a_gradient_that_is_off_is_seen() -> None:
    """The comparison itself notices a hundred-thousandth of a slope."""
    agent = try_out(Agent.from_torch(fixed_seed(network), distribution=normal), ROWS.numpy(), "the test")
    found, expected = gradient(agent), by_hand(fixed_seed(network), lambda mean: normal(mean * (1 + 1e-5)))
    assert np.abs(found["0.weight"] - expected["0.weight"]).max() > 1e-6 * np.abs(expected["0.weight"]).max()


def test_what_a_module_is_given_stays_as_it_was() -> None:
    agent = Agent.from_torch(
        Forward(lambda self, x: self.body(x.clamp_(-0.1, 0.1)), body=network()), distribution=normal
    )
    rows = ROWS.clone()
    agent.policy.distribution(agent.policy_parameters, rows)
    assert torch.equal(rows, ROWS)
