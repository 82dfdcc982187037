"""What hooks of libraries without callbacks share: a method of an object, watched."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any


def watch_method(
    owner: Any, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Callable[[], None]:
    """Put a function around a method of one object; return what takes it away again.

    Parameters
    ----------
    owner : object
        Whose method it is.
    name : str
        Of the method.
    around : callable
        Takes the method as it was, and returns what stands in its place.
    """
    original = getattr(owner, name)
    setattr(owner, name, around(original))

    def give_back() -> None:
        with suppress(AttributeError):
            delattr(owner, name)  # the class' own method is there again

    return give_back
