"""Every text that the package shows stands in one file, so that a reader can read them through and a change shows."""

import ast

import pytest

from messages import GOLDEN, HINT, collect, is_prose, texts


def test_all_texts_are_in_the_file():
    assert collect() == GOLDEN.read_text(), HINT


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('raise InputError(f"pairs must be at least 1 (got {pairs:,})", "give more")', 2),
        ('what = "too few" " pairs"\nraise InputError(what)', 1),
        ('warnings.warn("look at this", stacklevel=2)', 1),
        ('f"{name} is {value!r}"', 0),
        ('"one"', 0),
        ("x = f\"{'two words' if a else 'none'} and more\"", 2),
        ('"""A docstring of a module."""', 0),
        ('def f():\n    """A docstring of it."""\n    return "some text"', 1),
        ('@dataclass\nclass A:\n    """Of no command."""\n    a: int = 1\n    """Help of a field."""', 1),
    ],
)
def test_what_is_a_text(code, found):
    assert len(texts(ast.parse(code))) == found


def test_the_docstring_of_a_command_is_help():
    code = '@dataclass\nclass Train:\n    """Train agents."""\n    def run(self):\n        """Not shown."""'
    assert texts(ast.parse(code), commands=True) == ["Train agents."]


def test_holes_are_named():
    (text,) = texts(ast.parse('f"at most {bound:,} pairs ({name!r})"'))
    assert text == "at most {bound} pairs ({name})"


@pytest.mark.parametrize(("text", "prose"), [("{a b} c", False), ("two words", True), ("{a} is {b} of", True)])
def test_words_in_holes_do_not_count(text, prose):
    assert is_prose(text) is prose


def test_texts_are_one_line_each_and_said_plainly():
    lines = [line.strip() for line in GOLDEN.read_text().splitlines() if line.startswith("  ")]
    assert len(lines) > 1000
    for word in (" mend", "heard", " looks ", " wishes", "  "):
        assert not [line for line in lines if word in line], word
