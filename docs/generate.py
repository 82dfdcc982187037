"""Write the pages that are made from code: `python docs/generate.py`; with `--check`, say whether they are current."""

import sys
from dataclasses import Field
from pathlib import Path
from typing import Any

from closerlook.cli.study_tables import plan_summary
from closerlook.diagnostics import all_diagnostics
from closerlook.diagnostics.options import about, flag_of, listed
from closerlook.results.schema import describe
from closerlook.studies.preset import preset_names
from closerlook.studies.schema import every_variable
from closerlook.studies.study import plan_rows, plan_study

VARIABLES = Path(__file__).parent / "variables.md"

HEAD = """# Every variable defined

Datasets hold only what is defined here, and every variable carries its definition with it (`ds.pairwise_cosine.attrs`).
An `agent` dimension is absent where one agent was measured. Missing is NaN, in JSON null, never zero. This page is
written by `docs/generate.py` from the `variables.py` of each diagnostic.

"""


OPTIONS = Path(__file__).parent / "options.md"
OPTIONS_HEAD = """# Every option defined

What each diagnostic may be asked, on the command line and in Python alike: `closerlook gradients --lambdas 0.9 0.95` is
`cl.gradient_quality(agent, lambdas=(0.9, 0.95))`, and `cl.run("gradients", agent, lambdas=(0.9, 0.95))` is the same.
This page is written by `docs/generate.py` from the `options.py` and `limits.py` of each diagnostic.

Verdicts are judged by limits that can be given too: `cl.verdicts(dataset, unusual_noise=200)`. Their defaults lie at
the edge of what trained agents of the atlas show; each diagnostic's page has the ranges.
"""


def options_page() -> str:
    """Lay out the options of every diagnostic of this package."""
    parts = [OPTIONS_HEAD]
    for diagnostic in all_diagnostics().values():
        rows = [
            f"| `--{flag_of(field)}` | `{field.name}` | {about(field).help} | {_default(field)} |"
            for field in listed(diagnostic.Options)
        ]
        head = ["| command line | Python | what it is | default |", "|---|---|---|---|"]
        parts.append("\n".join([f"\n## {diagnostic.name}\n", f"{diagnostic.line}\n", *head, *rows]) + "\n")
        limits = [f"| `{name}` | {what} | {default:g} |" for name, default, what in diagnostic.Limits.described()]
        head = ["| limit of its verdicts | what it is of | default |", "|---|---|---|"]
        parts.append("\n".join(["", *head, *limits]) + "\n")
    return "".join(parts)


def _default(field: Field[Any]) -> str:
    words = about(field).otherwise
    return words if words is not None else f"`{field.default}`"


STUDIES = Path(__file__).parent / "studies.md"


def studies_page() -> str:
    """Put what each figure takes at the paper's scale into the page on studies."""
    rows = []
    for name in preset_names():
        study = plan_study([name], "paper", Path("runs/study-paper"))
        title = study.figures[0].preset.title
        # agents of the atlas, or those of runs that are here, count as work all the same
        found = plan_summary(study, plan_rows(study))
        rows.append(
            [f"`{name}`", title, f"{found['pairs']:.2g}", f"{found['core_hours']:,.0f}", _bytes(found["bytes"])]
        )
    head = ["| study | what it shows | pairs | core-hours | disk |", "|---|---|---|---|---|"]
    text = "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])
    before, rest = STUDIES.read_text().split("<!-- plan -->")
    return f"{before}<!-- plan -->\n\n{text}\n\n<!-- end of plan -->{rest.split('<!-- end of plan -->')[1]}"


def _bytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"


def main() -> int:
    """Write the pages, or compare them with what would be written."""
    pages = {VARIABLES: HEAD + describe(every_variable().values()), OPTIONS: options_page(), STUDIES: studies_page()}
    if "--check" in sys.argv[1:]:
        return int(any(path.read_text() != text for path, text in pages.items()))
    for path, text in pages.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
