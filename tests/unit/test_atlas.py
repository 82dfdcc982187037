"""The atlas at a tiny scale: trained, packed, taken up again, and loaded by name from anywhere."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from closerlook.agents.files import load_agent
from closerlook.agents.loading import checkpoint_folder, checkpoints_of, find_agents
from closerlook.errors import InputError
from closerlook.monitor.critic_audit import CriticAudit
from closerlook.monitor.trust_audit import TrustRegionAudit
from closerlook.results.store import RunFolder, as_json, commanded
from closerlook.training import COLUMNS
from closerlook.training import atlas as module
from closerlook.training.atlas import ENTRIES, Entry, names_of, require_small, train_entry

TINY = Entry("hopper-trpo", seeds=2, steps=2 * 2048, with_optimizer=1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    runs, atlas = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("atlas")
    train_entry(TINY, runs=runs, atlas=atlas, workers=1)
    return runs, atlas


def test_the_six_columns_are_table_1() -> None:
    assert len(ENTRIES) == 12
    humanoid = Entry("humanoid-trpo").settings.resolved()
    assert (humanoid.environment, humanoid.algorithm, humanoid.trpo.max_kl) == ("Humanoid-v5", "trpo", 0.07)
    assert (humanoid.seeds, humanoid.iterations) == (10, 488)
    assert humanoid.checkpoints == (0, 150, 300, 450, 488)
    assert (humanoid.bootstrap, humanoid.observation_clip, humanoid.normalize_rewards) == ("correct", None, False)


def test_the_second_six_have_other_seeds_and_the_papers_bootstrap() -> None:
    humanoid = Entry("humanoid-trpo-v2").settings.resolved()
    assert list(humanoid.numbers) == list(range(10, 20))
    assert (humanoid.bootstrap, humanoid.action_transform, humanoid.trpo.max_kl) == ("paper", "clip", 0.07)
    assert Entry("hopper-ppo-v2").settings.action_transform == "none"


def test_a_column_of_the_second_atlas_is_audited_and_packed_at_the_iterations_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = module.TrainSettings.of_preset
    monkeypatch.setattr(
        module.TrainSettings, "of_preset", lambda *a, **k: replace(whole(*a, **k), checkpoints=(0, 1), n_steps=256)
    )
    tiny = Entry("hopper-ppo-v2", seeds=1, steps=2 * 256)
    audits = (CriticAudit(), TrustRegionAudit())
    for _ in range(2):  # the second time it is left as it is, though the record names the audits
        packed = train_entry(tiny, runs=tmp_path / "runs", atlas=tmp_path / "atlas", workers=1, audits=audits)
    assert sorted(checkpoints_of(packed)) == [(0, 10), (1, 10)]  # not the last one, which nobody asked for
    log = pd.read_csv(packed / "training.csv.gz")
    whole_log = pd.read_csv(tmp_path / "runs/hopper-ppo-v2/training.csv")
    assert {"audit_gae_as_released_train", "audit_quadratic_kl"} <= set(log.columns)
    np.testing.assert_allclose(log["audit_gae_mre_heldout"], whole_log["audit_gae_mre_heldout"], rtol=6e-3)
    np.testing.assert_allclose(log["policy_loss"], whole_log["policy_loss"], rtol=6e-5)


def test_a_packed_column_is_loaded_by_name(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    runs, atlas = folders
    monkeypatch.chdir(runs)  # a folder of that name in the working directory comes first
    monkeypatch.setenv("CLOSERLOOK_ATLAS", str(atlas))
    agents = find_agents("atlas/hopper-trpo")
    assert [(agent.iteration, agent.agent_seed, agent.algorithm) for agent in agents] == [
        (2, 0, "trpo"),
        (2, 1, "trpo"),
    ]
    original = load_agent(checkpoint_folder(runs / "hopper-trpo", 2, 1))
    assert all((tensor == original.state[name]).all() for name, tensor in agents[1].state.items())
    assert set(original.state) - set(agents[1].state) == {name for name in original.state if name.startswith("optim")}
    assert agents[0].part("optimizer.value")
    assert len(find_agents("atlas/hopper-trpo", iteration=0)) == 2
    with pytest.raises(InputError, match=r"no hopper-a2c in the atlas .*hopper-trpo"):
        find_agents("atlas/hopper-a2c")


def test_the_log_is_packed_to_five_digits(folders: tuple[Path, Path]) -> None:
    runs, atlas = folders
    whole = pd.read_csv(runs / "hopper-trpo/training.csv")
    packed = pd.read_csv(atlas / "hopper-trpo/training.csv.gz")
    assert list(packed.columns) == list(COLUMNS)
    numbers = whole.select_dtypes("number").columns
    np.testing.assert_allclose(packed[numbers], whole[numbers], rtol=6e-5)
    record = json.loads((atlas / "hopper-trpo/run.json").read_text())
    assert record["finished"]
    assert "name" not in record["host"]


def test_what_is_packed_does_not_say_in_which_folders_it_was_made(tmp_path: Path) -> None:
    tiny = Entry("hopper-trpo", seeds=1, steps=2048)
    with commanded(f"closerlook atlas hopper-trpo --runs {tmp_path}"):
        packed = train_entry(tiny, runs=tmp_path / "runs", atlas=tmp_path / "atlas", workers=1)
    assert str(tmp_path) in (tmp_path / "runs/hopper-trpo/run.json").read_text()
    assert str(tmp_path) not in (packed / "run.json").read_text()
    for record in (Path(__file__).parents[2] / "atlas").glob("*/run.json"):
        assert "command" not in json.loads(record.read_text()), record


def test_a_packed_column_is_left_and_an_unfinished_one_taken_up(folders: tuple[Path, Path]) -> None:
    runs, atlas = folders
    before = {file: file.stat().st_mtime_ns for file in atlas.rglob("*")}
    train_entry(TINY, runs=runs / "elsewhere", atlas=atlas, workers=1)
    assert not (runs / "elsewhere").exists()
    assert {file: file.stat().st_mtime_ns for file in atlas.rglob("*")} == before
    (atlas / "hopper-trpo/run.json").unlink()
    record = (runs / "hopper-trpo/run.json").read_text()
    train_entry(TINY, runs=runs, atlas=atlas, workers=1)
    assert json.loads((runs / "hopper-trpo/run.json").read_text())["settings"] == json.loads(record)["settings"]
    assert find_agents(atlas / "hopper-trpo")[0].iteration == 2


def test_an_atlas_that_is_too_large_is_refused(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert 100_000 < require_small(folders[1]) < 400_000
    monkeypatch.setattr(module, "LARGEST", 1000)
    with pytest.raises(InputError, match="more than"):
        require_small(folders[1])
    monkeypatch.setattr(module, "LOGS_ALONE", ("hopper-trpo", "not-there"))
    with pytest.raises(InputError, match="more than"):  # its log and settings alone
        require_small(folders[1])
    monkeypatch.setattr(module, "LARGEST", 15_000)
    assert 1_000 < require_small(folders[1]) < 15_000


def test_a_column_whose_log_alone_was_kept_says_so_and_is_not_overwritten(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOSERLOOK_ATLAS", str(tmp_path))
    (tmp_path / "hopper-trpo").mkdir()
    for name in ("run.json", "training.csv.gz"):
        shutil.copy(folders[1] / "hopper-trpo" / name, tmp_path / "hopper-trpo")
    for name in ("atlas/hopper-trpo", tmp_path / "hopper-trpo"):
        monkeypatch.chdir(folders[0])
        with pytest.raises(
            InputError, match=r"the log of hopper-trpo, and not its agents; closerlook atlas hopper-trpo"
        ):
            find_agents(name)
    monkeypatch.chdir(tmp_path / "hopper-trpo")
    with pytest.raises(InputError, match="the log of hopper-trpo, and not its agents"):
        find_agents(".")
    before = files_of(tmp_path)
    with pytest.raises(InputError, match=r"keeps the log of agents .*; give another --out"):
        train_entry(TINY, runs=folders[0], atlas=tmp_path, workers=1)
    assert files_of(tmp_path) == before
    (tmp_path / "notes").mkdir()
    with pytest.raises(InputError, match=r"notes holds no agent"):
        find_agents("atlas/notes")
    train_entry(TINY, runs=folders[0], atlas=tmp_path, workers=1, resume=False)
    assert find_agents("atlas/hopper-trpo")[0].iteration == 2


def files_of(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_only_packed_columns_are_replaced(folders: tuple[Path, Path], tmp_path: Path) -> None:
    runs, atlas = folders
    before = files_of(runs) | files_of(atlas)
    with pytest.raises(InputError, match=r"is not a packed column .*does not belong to one"):
        train_entry(TINY, runs=tmp_path, atlas=runs, workers=1, resume=False)
    with pytest.raises(InputError, match="would hold the training run and the atlas"):
        train_entry(TINY, runs=tmp_path, atlas=tmp_path / "x" / "..", workers=1)
    with pytest.raises(InputError, match="column of other settings; give another --out, or --no-resume"):
        train_entry(replace(TINY, seeds=1), runs=tmp_path, atlas=atlas, workers=1)
    assert files_of(runs) | files_of(atlas) == before
    assert not list(tmp_path.rglob("run.json"))


def test_what_a_killed_write_left_does_not_count_and_the_rest_does() -> None:
    names = ["run.json", ".run.json.42.tmp", "checkpoints/000150/03/agent.json", "checkpoints/1/2/.state.packed.4.tmp"]
    assert all(module._is_packed(Path(name)) for name in names)
    others = ["notes.txt", "notes/a/b/run.json", "checkpoints/run.json", "checkpoints/1/2/state.safetensors"]
    assert not any(module._is_packed(Path(name)) for name in others)


def test_a_packed_column_is_replaced_where_that_was_asked(folders: tuple[Path, Path], tmp_path: Path) -> None:
    copied = tmp_path / "atlas"
    shutil.copytree(folders[1], copied)
    one = replace(TINY, seeds=1, steps=2048)
    train_entry(one, runs=tmp_path / "runs", atlas=copied, workers=1, resume=False)
    assert [(agent.iteration, agent.agent_seed) for agent in find_agents(copied / "hopper-trpo")] == [(1, 0)]


def test_columns_are_chosen_by_name() -> None:
    assert [name for name in ENTRIES if name not in names_of(())] == ["humanoid-ppo", "humanoid-trpo"]
    assert names_of(("humanoid-ppo",)) == ["humanoid-ppo"]
    assert names_of(("walker2d-trpo", "atlas/hopper-ppo")) == ["hopper-ppo", "walker2d-trpo"]
    with pytest.raises(InputError, match="no 'ant-ppo'"):
        names_of(("ant-ppo",))


ATLAS = Path(__file__).parents[2] / "atlas"


@pytest.mark.parametrize("name", ENTRIES)
def test_the_repository_keeps_the_agents_of_ten_columns_and_of_the_others_the_log(name: str) -> None:
    assert (ATLAS / name / "training.csv.gz").is_file()
    seeds = range(10, 20) if name.endswith("-v2") else range(10)
    agents = [] if name in module.LOGS_ALONE else list(itertools.product((0, 150, 300, 450), seeds))
    assert sorted(checkpoints_of(ATLAS / name)) == agents


@pytest.mark.parametrize("name", ENTRIES)
def test_the_packed_columns_of_the_repository_are_those_of_todays_settings(name: str) -> None:
    record = RunFolder(ATLAS / name).read_record()
    record["settings"].pop("callbacks", None)
    assert record["settings"] == as_json(Entry(name).settings.resolved().to_json())
