"""Training where something is wrong with the batch or the step: named in the log, and what follows is the rule."""

import dataclasses
import math
import shutil
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from closerlook.agents.agent import Agent
from closerlook.algorithms.natural import NaturalSettings
from closerlook.algorithms.ppo import PPOSettings
from closerlook.algorithms.trpo import TRPOSettings
from closerlook.algorithms.vanilla import VanillaSettings
from closerlook.errors import InputError, NonFiniteError
from closerlook.monitor.trust_audit import TRUST_AUDITED, TrustRegionAudit
from closerlook.training import TrainSettings, train
from closerlook.training.events import EventFiles
from closerlook.training.log import COLUMNS, notes, numbers_of
from closerlook.training.plan import Plan
from closerlook.training.segment import gather, improve
from closerlook.training.settings import agent_seed, initial_agents

BASE = TrainSettings(
    environment="training_environments:make_target", seeds=2, steps=3 * 64, n_steps=64, hidden=(8, 8), checkpoints=()
)
LIGHT = dataclasses.replace(BASE, ppo=PPOSettings(policy_epochs=1, value_epochs=1, minibatches=2))
"""What is enough where updates are not in question."""


def trained(folder: Path, algorithm: str, update: object, **changes: object) -> pd.DataFrame:
    settings = dataclasses.replace(BASE, algorithm=algorithm, **{algorithm: update}, **changes)
    train(settings, out=folder, workers=1)
    return pd.read_csv(folder / "training.csv")


def files_of(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def initial(settings: TrainSettings) -> tuple[TrainSettings, Agent, list[int]]:
    settings = settings.resolved()
    agents = Agent.stack(initial_agents(settings, range(settings.seeds)))
    return settings, agents, [agent_seed(settings, k) for k in range(settings.seeds)]


@pytest.mark.parametrize(
    ("algorithm", "update", "note"),
    [
        ("ppo", PPOSettings(minibatches=4), "advantages all equal in 40 minibatches"),
        ("trpo", TRPOSettings(), "advantages all equal"),
        ("natural", NaturalSettings(), "advantages all equal"),
        ("vanilla", VanillaSettings(), "advantages all equal"),
    ],
)
def test_equal_advantages_leave_the_policy_and_are_named(
    tmp_path: Path, algorithm: str, update: object, note: str
) -> None:
    env = "training_environments:make_flat"
    log = trained(tmp_path, algorithm, update, environment=env, baseline="none", normalize_rewards=False, gamma=0.0)
    assert (log.notes == note).all()
    assert (log.mean_kl == 0).all()
    assert log.iteration.max() == 2


def test_a_search_that_never_succeeds_is_named_and_training_goes_on(tmp_path: Path) -> None:
    log = trained(tmp_path, "trpo", TRPOSettings(accept_ratio=1e9))
    assert (log.notes == "no step accepted: the policy stays").all()
    assert (log.line_search_failed == 1).all()
    assert (log.mean_kl == 0).all()
    assert (log.value_loss > 0).all()


LEAP = {"ppo": PPOSettings(policy_learning_rate=60.0, minibatches=1, policy_epochs=1)}
LEAP["vanilla"] = VanillaSettings(policy_learning_rate=60.0)


@pytest.mark.parametrize("algorithm", LEAP)
def test_a_kl_that_overflows_is_named_and_training_goes_on(tmp_path: Path, algorithm: str) -> None:
    """One step of Adam is as long as its rate: the standard deviation ends at e^-60 or e^60."""
    log = trained(tmp_path, algorithm, LEAP[algorithm], seeds=4, steps=64)
    overflown = ~np.isfinite(log.max_kl)
    assert overflown.any()
    assert log.notes[overflown].str.contains("KL overflows").all()


def test_a_parameter_that_overflows_stops_training_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"agent seed 0, iteration 0: .* is not finite"):
        trained(tmp_path, "ppo", PPOSettings(policy_learning_rate=1e30))


@pytest.mark.parametrize("algorithm", ["trpo", "natural"])
def test_a_step_whose_kl_overflows_is_refused(algorithm: str) -> None:
    """At a standard deviation of e^-30 the Fisher matrix is beyond all numbers."""
    settings, agents, seeds = initial(dataclasses.replace(BASE, algorithm=algorithm))
    log_std = torch.full_like(agents.state["policy.log_std"], -30.0)
    agents = agents.with_state({"policy": {"log_std": log_std}})
    sampled, batch, row, _ = gather(agents, settings, seeds, 0)
    updated, more = improve(sampled, batch, settings, seeds, 0)
    refused = {"no step accepted: the policy stays", "no finite step came of the gradient"}
    assert all(refused & {*notes_of(row | more, member)} for member in range(2))
    assert torch.equal(updated.state["policy.0.weight"], agents.state["policy.0.weight"])


def notes_of(row: dict[str, np.ndarray], member: int) -> list[str]:
    return list(
        notes(dict.fromkeys(numbers_of(COLUMNS), math.nan) | {name: values[member] for name, values in row.items()})
    )


def test_tensorboard_events_hold_the_log(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = dataclasses.replace(BASE, steps=12 * 64, checkpoints=(1,))
    for _ in range(2):  # taken up again, the events are not doubled
        run = train(settings, out=tmp_path, workers=1, tensorboard=True, callbacks=[TrustRegionAudit()])
    events = reader.EventAccumulator(str(tmp_path / "tensorboard/01")).Reload()
    scalars = events.Scalars("update/mean_kl")
    own = run.log["agent_seed"] == 1
    assert [scalar.step for scalar in scalars] == run.log["environment_steps"][own].tolist()
    np.testing.assert_allclose([scalar.value for scalar in scalars], run.log["mean_kl"][own], rtol=1e-6)
    tags = set(events.Tags()["scalars"])
    assert {"episodes/mean_reward", "critic/value_loss", "time/seconds_update"} < tags
    assert {f"update/{name}" for name in TRUST_AUDITED} < tags
    audited = [scalar.value for scalar in events.Scalars("update/audit_quadratic_kl")]
    np.testing.assert_allclose(audited, run.log["audit_quadratic_kl"][own], rtol=1e-6)
    assert "update/step_fraction" not in tags


def test_events_have_a_scalar_for_all_that_the_audit_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a writer that keeps what it is told, so that TensorBoard need not be there."""
    written: dict[str, list[float]] = {}

    class Writer:
        def __init__(self, folder: str) -> None: ...

        def add_scalar(self, tag: str, value: float, *, global_step: int) -> None:
            written.setdefault(tag, []).append(value)

        def flush(self) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr(
        "closerlook.training.events.import_module", lambda _: types.SimpleNamespace(SummaryWriter=Writer)
    )
    settings = dataclasses.replace(BASE, steps=4 * 64, checkpoints=(1,))
    log = train(settings, out=tmp_path, workers=1, tensorboard=True, callbacks=[TrustRegionAudit()]).log
    for name in TRUST_AUDITED:
        assert sorted(written[f"update/{name}"]) == sorted(log[name].tolist())


def test_tensorboard_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr("closerlook.training.events.import_module", refuse)
    with pytest.raises(InputError, match=r"pip install -e '\.\[tensorboard\]'"):
        EventFiles(tmp_path)


class Listening:
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def start(self, total_pairs: float, label: str) -> None: ...

    def skip(self, pairs: float) -> None: ...

    def advance(self, pairs: float) -> None: ...

    def finish(self) -> None: ...

    def note(self, text: str) -> None: ...

    def report(self, rows: list[dict]) -> None:
        self.rows += rows


def test_who_listens_is_told_the_log_as_it_grows(tmp_path: Path) -> None:
    heard = Listening()
    run = train(LIGHT, out=tmp_path, workers=1, progress=heard)
    assert [row["mean_kl"] for row in heard.rows] == run.log["mean_kl"].tolist()


def test_states_are_let_go_and_rows_kept(tmp_path: Path) -> None:
    settings = dataclasses.replace(LIGHT, steps=25 * 64, checkpoints=(4,), seeds=1)
    run = train(settings, out=tmp_path, workers=1)
    held = [set(np.load(file).files) for file in (tmp_path / "jobs").glob("*.npz")]
    assert len(held) == 4  # to 4, 10, 20, 25
    assert sum("state.policy.0.weight" in names for names in held) == 1
    assert all("log.mean_kl" in names for names in held)
    again = train(settings, out=tmp_path, workers=1)
    assert again.log["mean_kl"].tolist() == run.log["mean_kl"].tolist()
    assert again.agents[0].state.keys() == run.agents[0].state.keys()


@pytest.mark.parametrize("harm", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-9])])
def test_a_checkpoint_that_was_deleted_or_damaged_comes_back(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    settings = dataclasses.replace(LIGHT, steps=12 * 64, checkpoints=(0, 4), seeds=1)
    train(settings, out=tmp_path, workers=1)
    files = sorted(tmp_path.glob("checkpoints/*/*/*"))
    before = [file.read_bytes() for file in files]
    for file in files:
        harm(file)
    train(settings, out=tmp_path, workers=1)
    assert [file.read_bytes() for file in files] == before


def test_a_run_that_begins_anew_leaves_no_agents_of_the_one_before(tmp_path: Path) -> None:
    settings = dataclasses.replace(LIGHT, steps=4 * 64, checkpoints=(2,), seeds=1)
    train(settings, out=tmp_path, workers=1)
    shorter = dataclasses.replace(settings, steps=3 * 64)
    train(shorter, out=tmp_path, workers=1, resume=False)
    assert [agent.parent.name for agent in sorted(tmp_path.glob("checkpoints/*/*"))] == ["000002", "000003"]


def test_a_run_that_could_not_begin_anew_is_still_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(LIGHT, out=tmp_path, workers=1)
    before = files_of(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise InputError("no step can be made", "mend it")

    monkeypatch.setattr(Plan, "answer", fail)
    with pytest.raises(InputError, match="no step can be made"):
        train(dataclasses.replace(LIGHT, steps=2 * 64), out=tmp_path, workers=1, resume=False)
    assert files_of(tmp_path) == before


def test_a_run_without_its_record_goes_on_from_its_answers(tmp_path: Path) -> None:
    train(LIGHT, out=tmp_path, workers=1)
    agents = {file: content for file, content in files_of(tmp_path).items() if "checkpoints" in str(file)}
    (tmp_path / "run.json").unlink()
    train(LIGHT, out=tmp_path, workers=1)
    assert agents.items() <= files_of(tmp_path).items()


def test_agents_of_which_nothing_tells_are_not_mixed_with_new_ones(tmp_path: Path) -> None:
    train(LIGHT, out=tmp_path, workers=1)
    (tmp_path / "run.json").unlink()
    shutil.rmtree(tmp_path / "jobs")
    with pytest.raises(InputError, match="holds agents of another run; give another --out, or --no-resume"):
        train(dataclasses.replace(LIGHT, steps=2 * 64), out=tmp_path, workers=1)
    assert not (tmp_path / "run.json").exists()


def test_a_run_of_another_kind_keeps_its_agents(tmp_path: Path) -> None:
    train(LIGHT, out=tmp_path, workers=1)
    record = tmp_path / "run.json"
    record.write_text(record.read_text().replace('"kind": "train"', '"kind": "gradients"'))
    before = files_of(tmp_path)
    with pytest.raises(InputError, match="another run"):
        train(LIGHT, out=tmp_path, workers=1, resume=False)
    assert files_of(tmp_path) == before
