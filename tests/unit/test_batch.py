"""Batches: what may be given, files of them, hostile ones too, and the command that recomputes them."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch

import closerlook as cl
from closerlook.cli import main
from closerlook.monitor.recomputed import log_probs_of, values_of
from training_batches import KINDS, make

REWARDS = np.ones((4, 2), np.float32)


def test_tensors_of_any_precision_are_taken_and_nothing_is_changed():
    rewards = torch.ones(4, 2, dtype=torch.bfloat16, requires_grad=True)
    batch = cl.Batch(rewards=rewards, terminated=torch.zeros(4, 2), values=torch.ones(4, 2, 1).double())
    assert batch.rewards.dtype == np.float32
    assert batch.values.shape == (4, 2)
    assert batch.terminated.dtype == bool
    assert (batch.steps, batch.environments, batch.pairs) == (4, 2, 8)


def test_ends_are_settled_from_one_another():
    done, ended = np.array([[True], [True], [False]]), np.array([[True], [False], [False]])
    batch = cl.Batch(rewards=np.ones((3, 1)), done=done, terminated=ended)
    assert batch.truncated.ravel().tolist() == [False, True, False]
    assert batch.replace(truncated=~ended).done.all()
    both = cl.Batch(rewards=np.ones((3, 1)), terminated=ended, truncated=done)
    assert both.truncated.ravel().tolist() == [False, True, False]  # a termination at the limit is a termination
    starts = cl.Batch(rewards=np.ones((3, 1)), episode_starts=done)
    assert starts.ends.ravel().tolist() == [True, False, False]
    assert cl.Batch(rewards=np.ones((3, 1))).ends is None


WRONG = {
    "shape of rewards": ({"rewards": np.ones(4)}, r"shape \[4\].*\[:, None\]"),
    "no steps": ({"rewards": np.ones((0, 2))}, r"shape \[0, 2\]"),
    "other shape": ({"values": np.ones((2, 4))}, r"values has the shape \[2, 4\]"),
    "flags as probabilities": ({"done": np.full((4, 2), 0.5)}, "done holds 0.5.*booleans"),
    "flags that contradict": (
        {"done": np.ones((4, 2)), "terminated": np.zeros((4, 2)), "truncated": np.zeros((4, 2))},
        "done is not terminated or truncated",
    ),
    "words": ({"values": [["a", "b"]] * 4}, "values is not an array of numbers"),
    "ragged": ({"values": [[1.0], [1.0, 2.0]]}, "values is not an array of numbers"),
    "last values": ({"last_values": np.ones(3)}, "last_values has 3 numbers; give 2"),
    "gamma": ({"gamma": 1.5}, r"gamma must be a number from 0 to 1 \(got 1\.5\)"),
    "no number": ({"clip": "large"}, r"clip must be a number from 0 on \(got 'large'\)"),
    "choice": ({"truncation": "sometimes"}, "truncation is 'sometimes'; choose from"),
    "policy": ({"policy": 3}, "policy must be a function or a module"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_clear_line(name):
    fields, message = WRONG[name]
    with pytest.raises(cl.InputError, match=message) as raised:
        cl.Batch(**{"rewards": REWARDS, **fields})
    assert "\n" not in str(raised.value)


def test_a_policy_that_fails_is_named():
    batch = make().batch
    with pytest.raises(cl.InputError, match="the batch's policy failed"):
        cl.lint(batch.replace(policy=lambda observations: observations.no_such_thing))
    with pytest.raises(cl.InputError, match="the policy answers with a int"):
        cl.lint(batch.replace(policy=lambda observations: 3))
    with pytest.raises(cl.InputError, match="the batch's critic failed"):
        cl.lint(batch.replace(critic=lambda observations: observations[:3]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_holds_what_lint_needs(kind, tmp_path):
    made = make(kind)
    stored = cl.Batch.load(made.batch.save(tmp_path / "batch"))
    assert stored.policy is None
    assert np.array_equal(stored.advantages, made.batch.advantages)
    assert np.allclose(log_probs_of(stored), log_probs_of(made.batch), atol=1e-5)
    assert np.allclose(values_of(stored), values_of(made.batch))
    levels = [(check.check, check.level) for check in cl.lint(stored).checks]
    assert levels == [(check.check, check.level) for check in cl.lint(made.batch).checks]
    again = cl.Batch.load(stored.save(tmp_path / "again.npz"))
    assert np.allclose(log_probs_of(again), log_probs_of(stored))


def test_a_file_of_any_distribution_holds_its_log_probabilities(tmp_path):
    batch = make("discrete").batch
    policy = torch.nn.Linear(4, 3)

    def many(observations):
        return torch.distributions.Independent(torch.distributions.Bernoulli(logits=policy(observations)), 1)

    actions = np.random.default_rng(0).integers(0, 2, (*batch.rewards.shape, 3)).astype(np.float32)
    batch = batch.replace(policy=many, actions=actions)
    batch = batch.replace(log_probs=log_probs_of(batch))
    stored = cl.Batch.load(batch.save(tmp_path / "batch.npz"))
    assert cl.lint(stored)["log_probs"].level == "ok"


class Exploit:
    """What unpickling would run."""

    def __reduce__(self):
        return (print, ("unpickled",))


def npz(file, **arrays):
    np.savez(file, **arrays)
    return file


def with_entry(file, name, content):
    """A zip with one healthy field and an entry of any bytes."""
    healthy = io.BytesIO()
    np.save(healthy, REWARDS)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rewards.npy", healthy.getvalue())
        archive.writestr(name, content)
    return file


def header(shape, descr="<f4"):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


HOSTILE = {
    "nothing": (lambda f: f, "there is no"),
    "a folder": (lambda f: f.mkdir() or f, "cannot be read"),
    "text": (lambda f: f.write_text("rewards") and f, "not an .npz file"),
    "half a file": (lambda f: f.write_bytes(npz(f, rewards=REWARDS).read_bytes()[:200]) and f, "not an .npz file"),
    "no rewards": (lambda f: npz(f, values=REWARDS), "it has no rewards, but values"),
    "a strange field": (lambda f: npz(f, rewards=REWARDS, surprise=REWARDS), "'surprise' is not a field"),
    "a path": (lambda f: with_entry(f, "../values.npy", b""), "is not a field"),
    "objects": (lambda f: npz(f, rewards=np.array([[Exploit()]], dtype=object)), "rewards holds 'O'"),
    "a structure": (lambda f: npz(f, rewards=np.zeros((4, 2), "f4,f4")), "rewards holds 'V'"),
    "complex numbers": (lambda f: npz(f, rewards=REWARDS * 1j), "rewards holds 'c'"),
    "more than there is": (
        lambda f: with_entry(f, "values.npy", header((10**9, 10**6)) + b"1234"),
        "values says it has the shape",
    ),
    "less than there is": (lambda f: with_entry(f, "values.npy", header((1, 1)) + b"12345678"), "values says it has"),
    "a negative shape": (lambda f: with_entry(f, "values.npy", header((-4, -2)) + bytes(32)), "values says it has"),
    "no header": (lambda f: with_entry(f, "values.npy", b"hello"), "not a NumPy array"),
    "code for a header": (lambda f: with_entry(f, "values.npy", header("__import__('os')")), "not a NumPy array"),
    "a long word": (lambda f: npz(f, rewards=REWARDS, truncation=np.array("x" * 10**4)), "truncation holds"),
    "a word that is none": (lambda f: npz(f, rewards=REWARDS, truncation=np.array("x")), "truncation is 'x'"),
    "numbers for a number": (lambda f: npz(f, rewards=REWARDS, gamma=np.ones(3)), "gamma has the shape"),
    "a word for a number": (lambda f: npz(f, rewards=REWARDS, gamma=np.array("1")), "gamma holds 'U'"),
    "two of a kind": (lambda f: with_entry(f, "rewards.npy", header((4, 2)) + bytes(32)), "twice"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_files_are_one_clear_line(name, tmp_path, capsys):
    make_file, message = HOSTILE[name]
    assert main(["lint", str(make_file(tmp_path / "batch.npz"))]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_a_damaged_file_is_refused(tmp_path, capsys):
    file = make().batch.save(tmp_path / "batch.npz")
    content = bytearray(file.read_bytes())
    content[3000:3100] = bytes(100)
    file.write_bytes(content)
    assert main(["lint", str(file)]) == 2
    assert "not a training batch" in capsys.readouterr().err


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("closerlook.monitor.batch_files.MOST_BYTES", 1000)
    assert main(["lint", str(npz(tmp_path / "batch.npz", rewards=np.ones((100, 10))))]) == 2
    assert "GiB" in capsys.readouterr().err


def test_the_command_names_the_fault(tmp_path, capsys):
    batch = make("continuous").batch
    file = batch.replace(advantages=-batch.advantages, returns=None).save(tmp_path / "batch.npz")
    assert main(["lint", str(file)]) == 0
    shown = capsys.readouterr()
    assert "wrong sign" in shown.out
    assert "r + gamma V(s') - V(s)" in shown.err
    assert main(["lint", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    check = next(check for check in found["checks"] if check["check"] == "advantages")
    assert (found["level"], check["diagnosis"], check["first_step"]) == ("problem", "wrong_sign", 0)
    assert "update_sign" in found["unknown"]
