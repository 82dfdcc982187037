"""Sampling to a target: the pool doubles, nothing is sampled twice, and the interval still covers."""

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from closerlook.agents.agent import Regime
from closerlook.diagnostics import summary
from closerlook.diagnostics.analyses import amounts, progress_note
from closerlook.diagnostics.gradients import Gradients, gradient_quality
from closerlook.diagnostics.gradients.measure import FIRST_ESTIMATES, JOB_STREAMS
from closerlook.diagnostics.gradients.options import Options
from closerlook.errors import InputError
from closerlook.execution import Silence
from closerlook.statistics.estimates import cosine_matrix, mean_pairwise_cosine
from environments import bandit_agent

AGENT = replace(bandit_agent(), regime=Regime(1, 40))


def looks(size: int, n_steps: int, most: int) -> list[int]:
    """The pairs of each interim analysis of a pool."""
    return amounts(FIRST_ESTIMATES * max(size, n_steps), JOB_STREAMS * n_steps, most)


def test_looks_double_up_to_the_most():
    assert looks(2048, 2048, 200_000) == [32768, 65536, 131072, 200_000]
    assert looks(512, 2048, 50_000) == [32768, 50_000]
    assert amounts(80_000, 32768, 200_000) == [98304, 196608, 200_000]
    assert looks(2048, 2048, 10_000) == [10_000]
    assert FIRST_ESTIMATES == JOB_STREAMS == 16
    narrowing, options = Gradients().narrowing, Options(pairs=10_000, precision=0.05)
    assert "after 1,000 pairs the pairwise cosine" in progress_note(narrowing, 1000, 0.1, options)
    assert "about 4,000 will do" in progress_note(narrowing, 1000, 0.1, options)
    with pytest.raises(InputError, match="precision must be above 0"):
        gradient_quality(AGENT, precision=0.0)


class Listener(Silence):
    """Counts what was simulated and hears what is said."""

    def __init__(self) -> None:
        self.pairs, self.notes, self.outlooks = 0.0, [], []

    def advance(self, pairs: float) -> None:
        self.pairs += pairs

    def note(self, text: str) -> None:
        self.notes.append(text)

    def outlook(self, first_pairs: float, most_pairs: float) -> None:
        self.outlooks.append((first_pairs, most_pairs))


def test_sampling_stops_when_the_interval_is_narrow_enough():
    heard = Listener()
    found = gradient_quality(AGENT, pairs=40_000, precision=0.06, workers=1, progress=heard)
    here = found.sel(size=40)
    width = float(here["pairwise_cosine_high"] - here["pairwise_cosine_low"]) / 2
    assert width <= 0.06
    assert found.attrs["half_width"] == pytest.approx(width)
    assert found.attrs["precision_reached"] == 1
    pairs = int(found["pairs"])
    assert pairs < 40_000
    assert pairs in looks(40, 40, 40_000)
    assert heard.pairs == pairs  # every pair once, though it was looked at several times
    assert len(heard.notes) == looks(40, 40, 40_000).index(pairs) >= 1
    assert "will do" in heard.notes[0]
    half = gradient_quality(AGENT, pairs=pairs // 2, workers=1)
    before = half.sel(size=40)
    assert float(before["pairwise_cosine_high"] - before["pairwise_cosine_low"]) / 2 > 0.06
    assert summary(found)["precision"] == {"asked": 0.06, "size": 40, "half_width": width, "reached": True}
    assert summary(half)["precision"] is None


def test_a_look_says_what_as_many_pairs_say_at_once():
    found = gradient_quality(AGENT, pairs=40_000, precision=0.06, workers=1, seed=2)
    same = gradient_quality(AGENT, pairs=int(found["pairs"]), workers=1, seed=2)
    assert found["size"].values.tolist() == same["size"].values.tolist()
    for name in ("pairwise_cosine", "pairwise_cosine_low", "true_cosine_corrected", "noise_scale_pairs_low"):
        np.testing.assert_allclose(found[name], same[name], rtol=1e-4, atol=1e-6)


def test_the_most_pairs_are_kept_and_said(tmp_path):
    heard = Listener()
    found = gradient_quality(AGENT, pairs=1280, precision=0.001, workers=1, progress=heard, out=tmp_path)
    assert int(found["pairs"]) == 1280
    assert found.attrs["precision_reached"] == 0
    assert "--pairs is reached" in heard.notes[-1]
    assert summary(found)["precision"]["reached"] is False
    again = Listener()
    assert gradient_quality(AGENT, pairs=1280, precision=0.001, workers=1, progress=again, out=tmp_path).identical(
        found
    )
    assert again.pairs == 0


class Interrupted(Listener):
    """Whoever watches presses Ctrl-C in the second look."""

    def advance(self, pairs: float) -> None:
        super().advance(pairs)
        if self.notes:
            raise KeyboardInterrupt


def test_what_a_look_found_stays_when_a_later_one_is_interrupted(tmp_path):
    asked = {"pairs": 1280, "precision": 0.001, "workers": 1, "out": tmp_path}
    heard, (first, *_) = Interrupted(), looks(40, 40, 1280)
    with pytest.raises(KeyboardInterrupt):
        gradient_quality(AGENT, **asked, progress=heard)
    assert heard.outlooks == [(first, 1280)]
    with xr.open_dataset(tmp_path / "gradients.nc", engine="netcdf4") as kept:
        assert int(kept["pairs"]) == first < heard.pairs
        assert kept.attrs["precision_reached"] == 0
    told = json.loads((tmp_path / "gradients.json").read_text())
    assert (told["pairs"], told["precision"]["reached"]) == (first, False)
    assert json.loads((tmp_path / "run.json").read_text())["finished"] is False
    again = Listener()
    whole = gradient_quality(AGENT, **asked, progress=again)
    assert again.pairs == 1280 - heard.pairs
    assert whole.identical(gradient_quality(AGENT, **(asked | {"out": None})))
    with xr.open_dataset(tmp_path / "gradients.nc", engine="netcdf4") as kept:
        assert int(kept["pairs"]) == 1280


def test_another_size_may_be_the_one_in_question():
    found = gradient_quality(AGENT, pairs=20_000, precision=0.15, precision_size=160, sizes=[40], workers=1)
    assert found["size"].values.tolist() == [40, 160]
    assert found.attrs["half_width"] <= 0.15
    with pytest.raises(InputError, match="too few"):
        gradient_quality(AGENT, pairs=2000, precision=0.1, precision_size=4000, workers=1)


def test_the_size_in_question_is_added_to_the_default_sizes():
    asked = {"pairs": 2000, "precision": 0.001, "workers": 1}
    default = gradient_quality(AGENT, **asked)["size"].values.tolist()
    for size, used in ((33, 33), (90, 80)):  # a beginning of a stream; two streams, as 128 pairs are three
        found = gradient_quality(AGENT, **asked, precision_size=size)
        assert found["size"].values.tolist() == sorted([*default, size])
        assert int(found["pairs_used"].sel(size=size)) == used
        assert found.attrs["half_width"] > 0


def test_updates_are_the_same_at_every_look():
    asked = {"pairs": 3000, "algorithm": "vanilla", "workers": 1}
    heard = Listener()
    whole = gradient_quality(AGENT, **asked, precision=0.001, progress=heard)
    assert heard.notes
    assert whole["update_size"].values.tolist() == [40, 160]
    assert heard.pairs == 3000 + 10 * 160  # every batch of the steps once
    first = gradient_quality(AGENT, **asked, precision=0.9)
    assert int(first["pairs"]) < 3000
    assert first["update_pairwise_cosine"].identical(whole["update_pairwise_cosine"])


def test_the_first_look_has_as_many_estimates_as_asked():
    found = gradient_quality(AGENT, pairs=8000, precision=0.5, estimates=40, workers=1)
    assert int(found["pairs"]) == 1920  # forty streams, rounded up to whole jobs
    assert int(found["estimates"].sel(size=40)) == 48


@pytest.mark.parametrize(
    ("cosine", "target", "size"),
    [
        (0.3, 0.1, 20),
        *(
            pytest.param(cosine, target, size, marks=pytest.mark.slow)
            for cosine, target in [(0.05, 0.03), (0.05, 0.02), (0.3, 0.1), (0.3, 0.04), (0.9, 0.02), (0.9, 0.005)]
            for size in (20, 200)
            if (cosine, target, size) != (0.3, 0.1, 20)
        ),
    ],
)
def test_an_interval_that_was_looked_at_until_it_was_narrow_still_covers(cosine, target, size):
    draws, noise = np.random.default_rng(int(1000 * cosine) + size), np.sqrt((1 / cosine - 1) / size)

    def estimates(count):
        found = noise * draws.standard_normal((count, size))
        found[:, 0] += 1.0
        return found

    units = estimates(20_000)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    exact = (units.sum(0) @ units.sum(0) - len(units)) / (len(units) * (len(units) - 1))
    pools = looks(1, 1, 512)
    covered, stopped = [], []
    for _ in range(500):
        cosines = cosine_matrix(estimates(512))
        for count in pools:
            found = mean_pairwise_cosine(cosines[:count, :count])
            if (found.high - found.low) / 2 <= target:
                break
        covered.append(found.low <= exact <= found.high)
        stopped.append(count)
    assert 0.92 <= np.mean(covered) <= 0.99
    assert len(set(stopped)) > 1 or np.median(stopped) in (16, 512)
