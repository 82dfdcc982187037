"""How well the package reads, in numbers: `python docs/development/reading.py`; with `--missing`, what lacks what.

Counted over ``src/closerlook``, from syntax trees and tokens, without importing anything:

- *Code lines* hold code: no blank lines, comments or docstrings. *Comment lines* hold a comment and no code; marks for
  tools (``# noqa``, ``# type:``) and what stands behind code are none.
- *Public* are functions, classes and methods whose names, and whose module's and class' names, do not begin with an
  underscore, at the top level of a module or of a class.
- A public function or method *needs a Parameters section* where it takes two parameters or more beside ``self`` and
  ``cls``; a class where its ``__init__`` does, or, of dataclasses and named tuples, where it has two fields or more to
  give, those not counted that a text of their own follows, or that are declared with their help by ``option(...)``
  or ``limit(...)``.
  Every one has to be named in the section. A method that overrides one of a base class of this package inherits its
  documentation; overloads have none.
- *Lengths* are lines from ``def`` to the last, without the docstring.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

PACKAGE = Path(__file__).parents[2] / "src" / "closerlook"
LAYOUT = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
TOOLS = re.compile(r"#\s*(noqa|type:|pragma|ruff)")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: Path

    @cached_property
    def text(self) -> str:
        """Return what the file holds."""
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        """Return its syntax tree."""
        return ast.parse(self.text)

    @property
    def name(self) -> str:
        """Return where the file is, from the package on."""
        return str(self.path.relative_to(PACKAGE))

    @property
    def is_public(self) -> bool:
        """Whether no part of the module's name begins with an underscore, ``__init__`` aside."""
        parts = self.path.relative_to(PACKAGE).with_suffix("").parts
        return not any(part.startswith("_") for part in parts if part != "__init__")

    def comment_and_code_lines(self) -> tuple[int, int]:
        """Count lines that hold only a comment, and lines that hold code."""
        comments, code = set(), set()
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type == tokenize.COMMENT:
                if not TOOLS.match(token.string):
                    comments.add(token.start[0])
            elif token.type not in LAYOUT:
                code.update(range(token.start[0], token.end[0] + 1))
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Expr) and _is_text(node):
                code.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        return len(comments - code), len(code)


def modules() -> list[Module]:
    """List the modules of the package."""
    return [Module(path) for path in sorted(PACKAGE.rglob("*.py"))]


def _names(function: Function) -> list[str]:
    """List a function's parameters beside self and cls."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *([given.vararg] if given.vararg else []), *given.kwonlyargs]
    every += [given.kwarg] if given.kwarg else []
    return [one.arg for one in every if one.arg not in {"self", "cls"} and not one.arg.startswith("_")]


def _decorators(node: Function | ast.ClassDef) -> set[str]:
    bare = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
    return {one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "") for one in bare}


def _bases(node: ast.ClassDef) -> set[str]:
    bare = [one.value if isinstance(one, ast.Subscript) else one for one in node.bases]
    return {one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "") for one in bare}


def _fields(node: ast.ClassDef) -> list[str]:
    """List what the class is made with: parameters of its __init__, or fields of a dataclass or named tuple."""
    for one in node.body:
        if isinstance(one, Function) and one.name == "__init__":
            return _names(one)
    if not ("dataclass" in _decorators(node) or "NamedTuple" in _bases(node)):
        return []
    found = []
    for one, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and not _is_text(after):
            written = ast.unparse(one)
            given = not any(mark in written for mark in ("init=False", "ClassVar", "= option(", "= limit("))
            found += [one.target.id] if given and not one.target.id.startswith("_") else []
    return found


def _is_text(node: ast.stmt | None) -> bool:
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def section(docstring: str, title: str) -> str:
    """Return one section of a numpydoc docstring, empty where there is none."""
    found = re.search(rf"^{title}\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", docstring, re.MULTILINE | re.DOTALL)
    return found.group(1) if found else ""


@dataclass(frozen=True)
class Public:
    """A public function, method or class.

    Parameters
    ----------
    where : str
        Module, class and name.
    node : syntax tree
        Its definition.
    given : list of str
        Its parameters, or fields.
    inherits : bool
        Whether it overrides a method of a class of this package.
    """

    where: str
    node: Function | ast.ClassDef
    given: list[str]
    inherits: bool = False

    @property
    def docstring(self) -> str:
        """Return its docstring, or nothing."""
        return ast.get_docstring(self.node) or ""

    @property
    def has_examples(self) -> bool:
        """Whether there is an Examples section."""
        return bool(section(self.docstring, "Examples"))

    @property
    def missing(self) -> list[str]:
        """Return the parameters that it has to document and does not."""
        if len(self.given) < 2 or self.inherits:
            return []
        heads = re.findall(r"^(\S.*?)(?: : .*)?$", section(self.docstring, "Parameters"), re.MULTILINE)
        named = {name.strip(" *`") for head in heads for name in head.split(",")}
        return [name for name in self.given if name not in named]


def public(listed: list[Module]) -> list[Public]:
    """List what is public in these modules."""
    classes = {node.name: node for module in listed for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)}
    return [one for module in listed if module.is_public for one in _of_module(module, classes)]


def _of_module(module: Module, classes: dict[str, ast.ClassDef]) -> Iterator[Public]:
    for node in module.tree.body:
        if isinstance(node, Function) and not node.name.startswith("_") and "overload" not in _decorators(node):
            yield Public(f"{module.name}: {node.name}", node, _names(node))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield Public(f"{module.name}: {node.name}", node, _fields(node))
            yield from _of_class(module, node, classes)


def _of_class(module: Module, owner: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> Iterator[Public]:
    for node in owner.body:
        if isinstance(node, Function) and not node.name.startswith("_") and "overload" not in _decorators(node):
            where = f"{module.name}: {owner.name}.{node.name}"
            yield Public(where, node, _names(node), _overrides(owner, node.name, classes))


def _overrides(owner: ast.ClassDef, name: str, classes: dict[str, ast.ClassDef]) -> bool:
    """Whether a base class of this package has a method of that name."""
    for base in (classes[one] for one in _bases(owner) if one in classes and one != owner.name):
        if any(isinstance(one, Function) and one.name == name for one in base.body) or _overrides(base, name, classes):
            return True
    return False


def lengths(listed: list[Module]) -> list[int]:
    """Return the lines of every function without its docstring, sorted."""
    nodes = [node for module in listed for node in ast.walk(module.tree) if isinstance(node, Function)]
    texts = [node.body[0] if _is_text(node.body[0]) else None for node in nodes]
    return sorted(_lines(node) - (_lines(text) if text else 0) for node, text in zip(nodes, texts, strict=True))


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def lacking(found: list[Public]) -> list[str]:
    """Name what lacks parameters in its docstring."""
    return [f"{one.where}: {', '.join(one.missing)}" for one in found if one.missing]


def report(listed: list[Module]) -> str:
    """Return the numbers, a line each."""
    found, lines = public(listed), lengths(listed)
    comments, code = (sum(column) for column in zip(*(one.comment_and_code_lines() for one in listed), strict=True))
    return "\n".join(
        [
            f"comment lines in 100 lines of code:      {100 * comments / code:.1f}  ({comments} in {code})",
            f"public functions, methods and classes:   {len(found)}",
            f"  with Examples:                         {sum(one.has_examples for one in found)}",
            f"  lacking parameters in the docstring:   {len(lacking(found))}",
            f"lines of a function, median/90%/longest: {median(lines):.0f}/{lines[int(0.9 * len(lines))]}/{lines[-1]}",
        ]
    )


def main() -> None:
    """Print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--missing", action="store_true", help="list public names whose docstring lacks parameters")
    listed = modules()
    more = lacking(public(listed)) if parser.parse_args().missing else []
    sys.stdout.write("\n".join([report(listed), *more, ""]))


if __name__ == "__main__":
    main()
