"""How large is the source, and how is it cut? `python benchmarks/size.py [FOLDER ...]`, default src/closerlook.

Lines of code are those that hold more than a comment or a docstring. Give two folders (a checkout of before, this one)
to see them side by side.
"""

import ast
import io
import statistics
import sys
import tokenize
from pathlib import Path

OWN = Path(__file__).parents[1] / "src" / "closerlook"


def measure(folder: Path) -> dict[str, float]:
    """Count lines, files, names and the lengths of functions."""
    texts = [path.read_text() for path in sorted(folder.rglob("*.py"))]
    trees = [ast.parse(text) for text in texts]
    functions = [
        node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = sorted(_length(node) for node in functions)
    code, comments = sum(map(_code_lines, texts)), sum(map(_comment_lines, texts))
    docstrings = sum(_docstring_lines(tree) for tree in trees)
    public = [node for tree in trees for node in tree.body if not getattr(node, "name", "_").startswith("_")]
    return {
        "files": len(texts),
        "code lines": code - docstrings,
        "docstring lines": docstrings,
        "comment lines": comments,
        "functions": len(functions),
        "public functions and classes": len(public),
        "function length, median": statistics.median(lengths),
        "function length, 90%": lengths[int(0.9 * len(lengths))],
        "function length, longest": lengths[-1],
    }


def _code_lines(text: str) -> int:
    kinds = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in kinds:
            found.update(range(token.start[0], token.end[0] + 1))
    return len(found)


def _comment_lines(text: str) -> int:
    return sum(token.type == tokenize.COMMENT for token in tokenize.generate_tokens(io.StringIO(text).readline))


def _docstring_lines(tree: ast.AST) -> int:
    """Count lines of strings that stand alone: docstrings, and those below constants and fields."""
    return sum(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    )


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function from its def to its end, without its docstring."""
    first = node.body[0]
    text = (first.end_lineno or first.lineno) - first.lineno + 1 if ast.get_docstring(node) is not None else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - text


def main() -> None:
    """Print a table."""
    folders = [Path(name) for name in sys.argv[1:]] or [OWN]
    rows = [measure(folder) for folder in folders]
    for name in rows[0]:
        print(f"{name:32}" + "".join(f"{row[name]:12,g}" for row in rows))


if __name__ == "__main__":
    main()
