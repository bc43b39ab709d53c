"""HTML by function calls: text is escaped because it becomes a child, not because somebody remembered to.

    element("p", "5 < 6 for ", element("b", name), class_="note")      <p class="note">5 &lt; 6 for <b>…</b></p>

Only :class:`Markup` goes in as it stands. Attributes are keyword arguments: a trailing underscore is dropped and others
become hyphens, so that ``class_`` and ``aria_label`` are what they look like.
"""

from collections.abc import Iterable
from html import escape

VOID_ELEMENTS = frozenset({"meta", "rect", "line"})
"""Elements of ours that hold nothing."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """One element.

    Args:
        name: The tag.
        children: What it holds; whatever is no ``Markup`` is escaped.
        attributes: Its attributes, escaped; None leaves one out, and an empty string gives the bare name.
    """
    opening = "".join([name, *(_attribute(key, value) for key, value in attributes.items() if value is not None)])
    if name in VOID_ELEMENTS and not children:
        return Markup(f"<{opening}>" if name == "meta" else f"<{opening}/>")
    return Markup(f"<{opening}>{join(children)}</{name}>")


def join(children: Iterable[str]) -> Markup:
    """Children one after another, escaped where they are no ``Markup``."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children))


def _attribute(key: str, value: str | float) -> str:
    name = key.removesuffix("_").replace("_", "-")
    return f' {name}="{escape(str(value))}"' if value != "" else f" {name}"
