"""Every text that the package may show, from its syntax trees: `python tests/messages.py` writes them into one file.

Errors, warnings, verdicts, advice, progress, table heads and the help of options: all string literals and f-strings of
two words or more, by module and in the order of the code, f-strings with their holes as ``{expression}``. Docstrings
are left out but for those that are help: of commands, and of fields. Definitions of variables have a page of their own.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "closerlook"
GOLDEN = Path(__file__).parent / "golden" / "messages.txt"
DEFINITIONS = "variables.py"
HINT = "texts that the package shows have changed: run `python tests/messages.py`, read the difference, and commit it"


def collect() -> str:
    """Return all texts, a paragraph for each module."""
    parts = []
    for path in sorted(PACKAGE.rglob("*.py")):
        found = texts(ast.parse(path.read_text()), commands=path.parent.name == "cli")
        if found and not path.name.endswith(DEFINITIONS):
            parts.append("\n".join([str(path.relative_to(PACKAGE)), *(f"  {text}" for text in found)]))
    return "\n\n".join(parts) + "\n"


def texts(tree: ast.AST, *, commands: bool = False) -> list[str]:
    """Return the texts of a syntax tree, each once, in the order of the code."""
    left_out = set(docstrings(tree, commands=commands))
    found = dict.fromkeys(" ".join(text.split()) for text in _texts(tree, left_out))
    return [text for text in found if is_prose(text)]


def docstrings(tree: ast.AST, *, commands: bool) -> Iterator[ast.AST]:
    """Yield the nodes of docstrings that are no help."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        is_help = isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(d) for d in node.decorator_list)
        for at, line in enumerate(node.body):
            if isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant):
                wanted = is_help and (commands if at == 0 else isinstance(node.body[at - 1], ast.AnnAssign))
                if not wanted:
                    yield line.value


def _texts(node: ast.AST, left_out: set[ast.AST]) -> Iterator[str]:
    if node in left_out:
        return
    if isinstance(node, ast.JoinedStr):
        yield "".join(_part(part) for part in node.values)
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from _texts(part.value, left_out)
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in ast.iter_child_nodes(node):
        yield from _texts(child, left_out)


def _part(part: ast.expr) -> str:
    if isinstance(part, ast.FormattedValue):
        return f"{{{ast.unparse(part.value)}}}"
    return str(getattr(part, "value", ""))


def is_prose(text: str) -> bool:
    """Whether a text has two words or more, outside of its holes."""
    outside, depth = "", 0
    for letter in text:
        depth += (letter == "{") - (letter == "}")
        outside += letter if depth == 0 and letter != "}" else ""
    return len([word for word in outside.split() if any(letter.isalpha() for letter in word)]) > 1


if __name__ == "__main__":
    GOLDEN.write_text(collect())
