"""One offline HTML file: templates, figures as data, nothing from the network."""

import base64
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("closerlook.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def render(template: str, content: Mapping[str, Any]) -> str:
    """Fill a template of this package.

    Parameters
    ----------
    template : str
        Its file name, for example ``"demo.html.j2"``.
    content : mapping
        Every name the template uses.
    """
    return _templates().get_template(template).render(content)


def image_data(path: Path) -> str:
    """Return an SVG or PNG file as a data URL, so that the page needs no other file."""
    kind = {".svg": "image/svg+xml", ".png": "image/png"}[path.suffix]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
