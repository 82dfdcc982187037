"""The package's docstrings name their parameters, and the script that counts them counts rightly."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "development" / "reading.py"


@pytest.fixture(scope="module")
def reading():
    spec = importlib.util.spec_from_file_location("reading", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["reading"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["reading"]


@pytest.fixture(scope="module")
def package(reading):
    return reading.modules()


@pytest.fixture
def module(reading, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "PACKAGE", tmp_path)

    def make(text: str, name: str = "some.py"):
        (tmp_path / name).write_text(text)
        return reading.Module(tmp_path / name)

    return make


DOCUMENTED = '''
def add(left, right):
    """Add.

    Parameters
    ----------
    left, right : int
        Numbers.

    Returns
    -------
    int
        The sum.
    """
    return left + right
'''


def lacking(reading, *modules):
    return reading.lacking(reading.public(list(modules)))


def test_parameters_that_are_named_are_not_missing(reading, module):
    assert lacking(reading, module(DOCUMENTED)) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ('def f(a, b):\n    """Do."""', "some.py: f: a, b"),
        ("def f(a, *, b=1):\n    return a", "some.py: f: a, b"),
        (DOCUMENTED.replace("left, right : int", "left : int"), "some.py: add: right"),
        (DOCUMENTED.replace("Parameters", "Returns", 1), "some.py: add: left, right"),
        ('class A:\n    """A."""\n    def f(self, a, **b):\n        """Do."""', "some.py: A.f: a, b"),
        ('class A:\n    """A."""\n    def __init__(self, a, b):\n        pass', "some.py: A: a, b"),
        ('@dataclass(frozen=True)\nclass A:\n    """A."""\n    a: int\n    b: int = 1', "some.py: A: a, b"),
        ('class A(NamedTuple):\n    """A."""\n    a: int\n    b: int', "some.py: A: a, b"),
    ],
)
def test_what_is_missing(reading, module, text, missing):
    assert lacking(reading, module(text)) == [missing]


@pytest.mark.parametrize(
    "text",
    [
        "def _f(a, b):\n    return a",
        'def f(a):\n    """Do."""',
        'class A:\n    """A."""\n    def f(self, a):\n        """Do."""',
        "class _A:\n    def f(self, a, b):\n        pass",
        "def f():\n    def g(a, b):\n        pass",
        '@dataclass\nclass A:\n    """A."""\n    a: int = 1\n    """First."""\n    b: int = 2\n    """Second."""',
        '@dataclass\nclass A:\n    """A."""\n    a: int\n    _b: int = field(init=False)',
    ],
)
def test_what_needs_no_parameters(reading, module, text):
    assert lacking(reading, module(text)) == []


def test_a_module_of_ones_own_needs_none(reading, module):
    assert lacking(reading, module("def f(a, b):\n    return a", "_some.py")) == []


def test_methods_inherit(reading, module):
    base = 'class A:\n    """A."""\n    def f(self, a, b):\n        """Do."""'
    own = base.replace("class A", "class C(A)") + '\n    def g(self, a, b):\n        """Go."""'
    assert lacking(reading, module(base), module(own, "other.py")) == ["some.py: A.f: a, b", "other.py: C.g: a, b"]


def test_lines_are_counted(reading, module):
    some = module('"""Text."""\n\n# why\nx = 1  # not one\ny = (\n    2\n)  # noqa: E501\n# noqa: E501\n')
    assert some.comment_and_code_lines() == (1, 4)


def test_lengths_leave_docstrings_out(reading, module):
    assert reading.lengths([module(DOCUMENTED), module("def f():\n    return (\n        1\n    )", "b.py")]) == [2, 4]


def test_examples_are_found(reading, module):
    text = 'def f(a):\n    """Do.\n\n    Examples\n    --------\n    >>> f(1)\n    """'
    assert [one.has_examples for one in reading.public([module(text)])] == [True]


def test_every_parameter_of_the_package_is_documented(reading, package):
    """Run `python docs/development/reading.py --missing` to see what is not."""
    assert lacking(reading, *package) == []


def test_the_numbers_are_printed(reading, package):
    lines = reading.report(package).splitlines()
    assert [line.split(":")[0].strip() for line in lines] == [
        "comment lines in 100 lines of code",
        "public functions, methods and classes",
        "with Examples",
        "lacking parameters in the docstring",
        "lines of a function, median/90%/longest",
    ]
