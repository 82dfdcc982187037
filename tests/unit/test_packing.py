"""Packed agents: the same numbers in fewer bytes, and nothing from a hostile file."""

import dataclasses
import lzma
from pathlib import Path

import numpy as np
import pytest

from batches import make_agent
from closerlook.agents.files import PACKED, STATE, load_agent, save_agent
from closerlook.agents.packing import pack, unpack
from closerlook.errors import InputError
from closerlook.training.settings import with_optimizers


@pytest.mark.parametrize("length", [0, 1, 4, 7, 4000])
def test_what_is_packed_comes_back(length: int) -> None:
    content = np.random.default_rng(length).bytes(length)
    assert unpack(pack(content), longest=length) == content


def test_weights_shrink() -> None:
    weights = (0.1 * np.random.default_rng(0).standard_normal(50_000)).astype("<f4").tobytes()
    assert len(pack(weights)) < 0.84 * len(weights)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\x08",
        pack(b"12345678")[:-3],
        pack(b"12345678")[:8] + lzma.compress(bytes(10_000_000)),
        (4).to_bytes(8, "little") + b"no archive",
        (2**60).to_bytes(8, "little"),
    ],
)
def test_what_was_not_packed_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        unpack(packed, longest=1000)


def test_what_is_longer_than_it_may_be_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        unpack(pack(bytes(1001)), longest=1000)


@pytest.mark.parametrize("optimizer", [True, False])
def test_a_packed_agent_is_the_same_agent(tmp_path: Path, optimizer: bool) -> None:
    agent = with_optimizers(make_agent(0))
    save_agent(agent, tmp_path, optimizer=optimizer, packed=True)
    assert not (tmp_path / STATE).exists()
    loaded = load_agent(tmp_path)
    assert all((tensor == agent.state[name]).all() for name, tensor in loaded.state.items())
    assert bool(loaded.part("optimizer.policy")) == optimizer
    assert dataclasses.replace(loaded, state={}) == dataclasses.replace(agent, state={})


def test_a_damaged_packed_agent_is_refused(tmp_path: Path) -> None:
    save_agent(make_agent(0), tmp_path, packed=True)
    content = (tmp_path / PACKED).read_bytes()
    for damaged in (content[:100], content[:-1], content[:200] + b"x" + content[201:], b""):
        (tmp_path / PACKED).write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"):
            load_agent(tmp_path)
