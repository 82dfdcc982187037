"""The glossary names every dimension and source of the variables, and leaves no cell empty."""

import re
from pathlib import Path

import pytest

from closerlook.monitor.critic_audit import AUDITED
from closerlook.monitor.monitor import NUMBERS
from closerlook.monitor.trust_audit import TRUST_AUDITED
from closerlook.studies.schema import every_variable
from closerlook.training.log import COLUMNS

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "glossary.md").read_text()
TERMS = re.findall(r"^\| (?!term |-)(.+) \|$", TEXT.split("## Dimensions")[0], re.MULTILINE)
CITED = r"((?:[A-Z]\w+,? )+(?:and [A-Z]\w+ |et al\. )?)\((\d{4})\)"


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)]


def test_every_term_has_a_sentence_a_unit_and_a_source_or_none():
    assert len(TERMS) > 100
    for row in TERMS:
        term, symbol, unit, meaning, source, elsewhere = cells(row)
        assert all([term, symbol, unit, source, elsewhere]), term
        assert meaning.endswith("."), term


def test_descriptions_stand_alone():
    """Alerts, columns and variables are read one at a time: none leans on the one before it."""
    descriptions = {**NUMBERS, **AUDITED, **TRUST_AUDITED, **COLUMNS}
    descriptions |= {name: variable.definition for name, variable in every_variable().items()}
    leaning = re.compile(r"^(the same|as for|as the first|their) |\bof the same[,.]|^\w+$", re.IGNORECASE)
    assert [(name, words) for name, words in descriptions.items() if leaning.search(words)] == []


def test_no_term_twice():
    terms = [cells(row)[0] for row in TERMS]
    assert sorted(set(terms)) == sorted(terms)


def test_every_dimension_is_named():
    named = set(re.findall(r"`(\w+)`", TEXT.split("## Dimensions")[1].split("## Sources")[0]))
    assert {dim for variable in every_variable().values() for dim in variable.dims} == named


@pytest.mark.parametrize("where", ["variables", "terms"])
def test_every_source_is_listed(where):
    listed = TEXT.split("## Sources")[1]
    texts = [variable.source for variable in every_variable().values()] if where == "variables" else TERMS
    cited = {match for text in texts for match in re.findall(CITED, text)}
    assert len(cited) > 5
    for authors, year in cited:
        first = re.split(r"[ ,]", authors.removeprefix("of "))[0]
        assert re.search(rf"^- {first}\b.*\({year}\)", listed, re.MULTILINE), f"{authors}({year})"


def test_the_glossary_is_found():
    assert "glossary.md" in (DOCS / "index.md").read_text()
    assert "glossary.md" in (DOCS.parent / "mkdocs.yml").read_text()
