"""Coverage of every printed interval on the chain, and the page that shows it."""

import json

import pytest

import chain_coverage
import chain_policies
import coverage_page
from coverage_page import DATA, LEVELS, PAGE, SHORT, load, page, too_low


@pytest.mark.slow
@pytest.mark.parametrize("kind", chain_coverage.KINDS)
def test_intervals_hold_the_exact_answer_in_400_parts_of_a_pool(kind):
    found = {kind: chain_coverage.measure(kind)}
    assert set(too_low(found)) <= set(SHORT)
    stored = load()[kind]
    for level, names in found[kind].items():
        assert names.keys() == stored[level].keys()
        for name, cells in names.items():  # the last bits of a product may move a part or two across an end
            assert cells == pytest.approx(stored[level][name], abs=0.011), (kind, level, name)


@pytest.mark.parametrize("kind", chain_coverage.KINDS)
def test_what_is_measured_of_few_parts_is_what_the_page_shows_of_all(kind, monkeypatch):
    for module in (chain_coverage, chain_policies, coverage_page):
        monkeypatch.setattr(module, "PARTS", 4)
    assert chain_coverage.measure(kind, ["strong"])["strong"].keys() == load()[kind]["strong"].keys()


def test_the_page_of_coverage_shows_what_is_stored():
    assert PAGE.read_text() == page()
    assert load().keys() == chain_coverage.KINDS.keys()
    assert all(levels.keys() == LEVELS.keys() for levels in load().values())


def test_what_covers_less_than_it_should_is_listed_and_nothing_else_is():
    assert set(too_low(load())) == set(SHORT)


def test_a_variable_that_covers_too_little_is_found(tmp_path, monkeypatch):
    found = json.loads(DATA.read_text())
    found["studies"]["weak"]["regime_final_mean"] = [0.924, 0.924, 0.0]
    found["landscapes"]["strong"]["line_reward"] = [0.95, 0.89, 0.0]
    assert {("studies", "regime_final_mean"), ("landscapes", "line_reward")} <= set(too_low(found))
