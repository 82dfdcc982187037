"""Write the pages that are made from code: `python docs/generate.py`; with `--check`, say whether they are current."""

import sys
from pathlib import Path

from closerlook.results.schema import describe
from closerlook.studies.schema import every_variable

VARIABLES = Path(__file__).parent / "variables.md"

HEAD = """# Every variable defined

Datasets hold only what is defined here, and every variable carries its definition with it (`ds.pairwise_cosine.attrs`).
An `agent` dimension is absent where one agent was measured. Missing is NaN, in JSON null, never zero. This page is
written by `docs/generate.py` from the `variables.py` of each diagnostic.

"""


def main() -> int:
    """Write the pages, or compare them with what would be written."""
    text = HEAD + describe(every_variable().values())
    if "--check" in sys.argv[1:]:
        return int(VARIABLES.read_text() != text)
    VARIABLES.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
