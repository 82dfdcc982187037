"""One offline HTML file: templates, figures as data, nothing from the network."""

import base64
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

GENERATOR = '<meta name="generator" content="closerlook">'
"""By which a page is known as one of closerlook's."""


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("closerlook.pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    found.globals["generator"] = GENERATOR
    return found


def render(template: str, content: Mapping[str, Any]) -> str:
    """Fill a template of this package.

    Parameters
    ----------
    template : str
        Its file name, for example ``"report.html.j2"``.
    content : mapping
        Every name the template uses.
    """
    return _templates().get_template(template).render(content)


@cache
def script() -> str:
    """Return plotly's own script, and the one that draws a page's plots with it."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - takes half a second

    own = (Path(__file__).parent / "templates" / "plots.js").read_text(encoding="utf-8")
    # what would end the element that holds them, wherever in the code it stands
    return f"{get_plotlyjs()}\n{own}".replace("</script", "<\\/script")


def image_data(path: Path) -> str:
    """Return an SVG or PNG file as a data URL, so that the page needs no other file."""
    kind = {".svg": "image/svg+xml", ".png": "image/png"}[path.suffix]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
