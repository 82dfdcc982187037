"""What ``closerlook train`` makes of its options, and what it shows meanwhile."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from closerlook.cli import _parse, main
from closerlook.commands.live import PopulationBar, population_table
from closerlook.console import Shown
from closerlook.errors import InputError
from closerlook.training.log import COLUMNS, NUMBERS


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
    assert "settings of trpo, and the algorithm is ppo" in capsys.readouterr().err


def rows_of(**changes: float) -> list[dict]:
    row = dict.fromkeys(NUMBERS, 1.5) | {"notes": "KL overflows"}
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
    shown = Shown(as_json=False)
    shown.notes = Console(file=io.StringIO(), force_terminal=True, width=120)
    bar = PopulationBar(shown, "Hopper-v5", 1, training=True)
    bar.report(rows_of())
    bar.start(100.0, "training")
    bar.report(rows_of())
    bar.finish()
    drawn = shown.notes.file.getvalue()
    assert "seed 1" in drawn
    assert "value expl. var." in drawn
