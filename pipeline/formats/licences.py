"""Licences of protein corpora: which of several binds a dataset made from all of them, and what it asks for.

From the freest to the strictest, by SPDX identifier (https://spdx.org/licenses); in lower case these are Hugging Face's
identifiers (https://huggingface.co/docs/hub/repositories-licenses)::

    CC0-1.0    CC-BY    CC-BY-SA    CC-BY-NC    CC-BY-NC-SA    CC-BY-ND    CC-BY-NC-ND
    anything   + name   + the same  + not for   + both         + as it is  + both
    goes       sources  licence     commerce

A dataset is as free as its least free part. What is not in the table, or not given, is unknown: it may ask for
anything, and only its publisher can tell. So a dataset with an unknown part is unknown, whatever its other parts are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

UNKNOWN = "unknown"
"""Hugging Face's identifier of a licence that is not known."""

SHARE_ALIKE, NON_COMMERCIAL, NO_DERIVATIVES = "SA", "NC", "ND"

_DEMANDS = {
    "BY": "name the sources, link the licence, and say what was changed",
    SHARE_ALIKE: "pass it on, and whatever is adapted from it, under this same licence and no other (share-alike)",
    NON_COMMERCIAL: "use it for nothing commercial",
    NO_DERIVATIVES: "pass on the sources as they are and nothing that is adapted from them, such as this dataset",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """One of the licences that are known here."""

    identifier: str
    """SPDX."""

    @property
    def terms(self) -> frozenset[str]:
        """What it asks for: BY, SA, NC and ND, those that it has."""
        return frozenset(self.identifier.split("-")) & _DEMANDS.keys()

    @property
    def demands(self) -> tuple[str, ...]:
        """What it asks of whoever uses the data, in words; nothing for the public domain."""
        return tuple(text for term, text in _DEMANDS.items() if term in self.terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What several licences come to."""

    strictest: Licence | None
    """Of those that are known; None if none is."""
    has_unknown: bool
    """Whether one is not known or not given, or there is none at all."""
    is_contradictory: bool
    """Whether no licence meets what all of the known ones ask for."""

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Hugging Face's identifiers of what binds the whole: ``unknown`` first if a part of it is."""
        known = (self.strictest.identifier.lower(),) if self.strictest else ()
        return ((UNKNOWN,) if self.has_unknown else ()) + known


def find_licence(name: str | None) -> Licence | None:
    """The licence of a name, in any case, with dashes or blanks; None for one that is not known or not given."""
    words = "-".join((name or "").upper().replace("-", " ").split())
    return _BY_NAME.get(words)


def combine(names: Sequence[str | None]) -> Terms:
    """What the licences of all parts of a dataset come to.

    Args:
        names: Of each part; None where none is given.
    """
    found = [find_licence(name) for name in names]
    known = [licence for licence in found if licence is not None]
    return Terms(
        strictest=max(known, key=LICENCES.index, default=None),
        has_unknown=len(known) < len(found) or not found,
        is_contradictory=any(_excludes(one, other) for one in known for other in known),
    )


def _excludes(one: Licence, other: Licence) -> bool:
    """Whether what is under ``one`` must be passed on in a way that ``other`` forbids."""
    if NO_DERIVATIVES in other.terms and one != other:
        return True
    return SHARE_ALIKE in one.terms and not other.terms <= one.terms


LICENCES = tuple(
    Licence(identifier=identifier)
    for identifier in (
        "CC0-1.0",
        "CC-BY-3.0",
        "CC-BY-4.0",
        "CC-BY-SA-3.0",
        "CC-BY-SA-4.0",
        "CC-BY-NC-4.0",
        "CC-BY-NC-SA-4.0",
        "CC-BY-ND-4.0",
        "CC-BY-NC-ND-4.0",
    )
)
"""Those that are known, from the freest to the strictest."""

_BY_NAME = {licence.identifier: licence for licence in LICENCES} | {"CC0": LICENCES[0]}
