"""What ``closerlook train`` makes of its options, and what it shows meanwhile."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from closerlook.cli import _parse, main
from closerlook.cli.console import Bar, Terminal, usual_rate
from closerlook.cli.live import PopulationBar, population_table
from closerlook.cli.train import table_of
from closerlook.errors import InputError
from closerlook.training.log import COLUMNS, numbers_of


def settings_of(*given: str):
    return _parse(["train", *given]).settings


def test_a_preset_changes_defaults() -> None:
    walker = settings_of("--env", "walker2d", "--algo", "trpo", "--preset", "paper")
    assert (walker.trpo.max_kl, walker.initialization, walker.observation_clip) == (0.04, "xavier", None)
    assert settings_of("--preset=paper", "--env=humanoid").ppo.policy_learning_rate == 2.5e-4
    assert settings_of("--preset", "ppo-m").normalize_rewards is False
    assert settings_of().ppo.policy_learning_rate == 4.5e-4


def test_an_option_wins_over_a_preset_even_where_it_is_the_usual_default() -> None:
    given = ("--ppo.value-learning-rate", "2e-4", "--ppo.value-clip", "None", "--reward-clip", "3")
    walker = settings_of("--preset", "paper", *given, "--env", "walker2d")
    assert (walker.ppo.value_learning_rate, walker.ppo.value_clip, walker.reward_clip) == (2e-4, None, 3.0)
    assert walker.ppo.policy_learning_rate == 4e-4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--preset", "paper", "--env", "Pendulum-v1"), "the paper has no settings for Pendulum-v1"),
        (("--preset", "paper", "--algo", "vanilla"), "the paper has no settings for vanilla"),
        (("--preset", "lucky"), "lucky"),
        (("--preset",), "preset"),
        (("--algo", "dqn"), "dqn"),
    ],
)
def test_presets_that_cannot_be_are_named(given: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings_of(*given)


def test_settings_of_another_algorithm_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["train", "--trpo.max-kl", "0.1", "--out", str(tmp_path / "run")]) == 2
    assert "settings of trpo are given, but the algorithm is ppo" in capsys.readouterr().err


def help_of(command: str, capsys: pytest.CaptureFixture) -> str:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    return capsys.readouterr().out


def test_help_spells_values_as_they_are_given(capsys: pytest.CaptureFixture) -> None:
    for command, spelt in (
        ("train", ("--ppo.value-clip FLOAT|none", "--checkpoints INT ...", "--preset {paper,paper-v2,ppo-m}")),
        ("atlas", ("[OPTIONS] COLUMN ...", "(default: atlas/ beside")),
        ("gradients", ("--iteration INT ...",)),
    ):
        text = help_of(command, capsys)
        for words in (*spelt, "--out DIR"):
            assert words in text
        for clumsy in ("[[", "{None", "total-iterations", "default: )", "default: None"):
            assert clumsy not in text


def test_help_and_what_is_read_agree() -> None:
    given = settings_of("--reward-clip", "none", "--observation-clip", "5", "--hidden", "8", "1e1", "--checkpoints")
    assert (given.reward_clip, given.observation_clip, given.hidden, given.checkpoints) == (None, 5.0, (8, 10), ())
    with pytest.raises(InputError, match="lots"):
        settings_of("--reward-clip", "lots")
    with pytest.raises(InputError, match=r"1\.5 is not a whole number"):
        settings_of("--hidden", "8", "1.5")


def log_of(iterations: int) -> dict[str, np.ndarray]:
    numbers = np.repeat(np.arange(iterations), 2)
    seeds = np.tile([0, 1], iterations)
    return {"iteration": numbers, "agent_seed": seeds, "mean_reward": 100.0 * seeds + numbers}


@pytest.mark.parametrize(
    ("iterations", "headings", "cells"),
    [
        (1, ["mean reward, the only iteration"], ["100"]),
        (3, ["mean reward, first iteration", "last 1 of 3"], ["100", "102"]),
        (19, ["mean reward, first 9 iterations", "last 9 of 19"], ["104", "114"]),
        (40, ["mean reward, first 10 iterations", "last 10 of 40"], ["104", "134"]),
    ],
)
def test_the_start_and_the_end_of_a_run_do_not_overlap(iterations: int, headings: list, cells: list) -> None:
    columns = table_of(log_of(iterations)).columns[1:]
    assert [column.header for column in columns] == headings
    assert [list(column.cells)[1] for column in columns] == cells


def test_the_time_announced_is_about_what_it_takes() -> None:
    """Against rates measured on a core of its own, agents of 64 x 64 units, and the seconds until workers work."""
    measured = {("Hopper-v5", 1): 5991, ("Hopper-v5", 10): 11705, ("Humanoid-v5", 1): 3027, ("Humanoid-v5", 10): 4273}
    measured |= {("Walker2d-v5", 1): 4567, ("Walker2d-v5", 10): 9304, ("Ant-v5", 10): 5163, ("Swimmer-v5", 1): 7390}
    for (environment, agents), rate in measured.items():
        assert usual_rate(environment, 1, agents) == pytest.approx(rate, rel=0.2)
    assert usual_rate("Hopper-v5", 2, 3) == pytest.approx(1.5 * usual_rate("Hopper-v5", 1, 2))
    assert usual_rate("Hopper-v5", 8, 1) == usual_rate("Hopper-v5", 1, 1)
    shown = Terminal(as_json=False)
    shown.notes = Console(file=io.StringIO())
    bar = Bar(shown, "Hopper-v5", 2)
    bar.start(1.0, "gradients")
    bar.finish()
    assert "about 7 s" in shown.notes.file.getvalue()


def rows_of(**changes: float) -> list[dict]:
    row = dict.fromkeys(numbers_of(COLUMNS), 1.5) | {"notes": "KL overflows"}
    return [row | {"agent_seed": seed, "iteration": i} | changes for i in (3, 4) for seed in (0, 1)]


def test_the_table_has_a_row_for_each_agent() -> None:
    table = population_table(rows_of(mean_reward=1234.4, mean_kl=float("inf")))
    assert table.title == "iterations 3 to 4"
    assert list(table.columns[0].cells) == ["seed 0", "seed 1"]
    assert list(table.columns[1].cells) == ["1,234", "1,234"]
    assert list(table.columns[3].cells) == ["", ""]
    assert list(table.columns[-1].cells) == ["KL overflows"] * 2
    assert set(rows_of()[0]) == set(COLUMNS)


def test_the_table_is_drawn_below_the_bar() -> None:
    shown = Terminal(as_json=False)
    shown.notes = Console(file=io.StringIO(), force_terminal=True, width=120)
    bar = PopulationBar(shown, "Hopper-v5", 1, trained=2)
    bar.report(rows_of())
    bar.start(100.0, "training")
    bar.report(rows_of())
    bar.finish()
    drawn = shown.notes.file.getvalue()
    assert "seed 1" in drawn
    assert "value expl. var." in drawn


@pytest.mark.parametrize("audited", [True, False])
def test_an_audit_is_drawn_beside_the_log(tmp_path: Path, audited: bool) -> None:
    tiny = ["--steps", "128", "--n-steps", "64", "--hidden", "8", "--seeds", "1", "--workers", "1", "--gamma", "0.9"]
    assert main(["train", *tiny, *(["--audit-critic"] if audited else []), "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.glob("audit.*")} == ({"audit.png", "audit.svg"} if audited else set())
