"""How the report of a corpus says things: numbers at a glance, and what machine names mean.

``percent(0.00455)`` is 0.46 %, ``rounded(25_921_676)`` 25.9 million, ``size(18_400_000)`` 18.4 MB: two or three digits
that matter, and never 0 % of something.
"""

from collections.abc import Sequence


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names) or "nowhere"


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """A number and its noun."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def percent(fraction: float) -> str:
    """A share in per cent, with two digits behind the point below ten."""
    hundredths = 100 * fraction
    if 0 < hundredths < 0.01:
        return "< 0.01 %"
    if 99.95 <= hundredths < 100:
        return "> 99.9 %"
    return f"{hundredths:.{2 if hundredths < 10 else 1}f} %"


def rounded(number: int) -> str:
    """A large number in millions, billions or trillions; a small one exactly."""
    for unit, name in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if number >= unit:
            return f"{number / unit:.{2 if number < 10 * unit else 1}f} {name}"
    return f"{number:,}"


def size(number: int) -> str:
    """Bytes in kB, MB, GB or TB, 1,000 bytes being one kB."""
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number:,} bytes"


def printable(text: str) -> str:
    """Text from headers and files without what a terminal would obey."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


DATABASES = {
    "swissprot": "Swiss-Prot",
    "trembl": "TrEMBL",
    "uniref100": "UniRef100",
    "uniref90": "UniRef90",
    "uniref50": "UniRef50",
    "uniparc": "UniParc",
    "mgnify": "MGnify",
    "bfd": "BFD",
    "other": "other databases",
}
"""What people call the databases that headers tell apart."""

REASONS = {
    "empty-sequence": "no residues",
    "invalid-gap": "a gap in the sequence",
    "invalid-stop": "a stop inside the sequence",
    "invalid-digit": "a digit in the sequence",
    "invalid-character": "a character that is no residue",
    "excluded": "on a list to exclude",
    "source-not-listed": "from another database than asked for",
    "source-excluded": "from an excluded database",
    "taxon-not-listed": "of another taxon than asked for",
    "taxon-excluded": "of an excluded taxon",
    "fragment": "a fragment, says its header",
    "too-short": "too short",
    "too-long": "too long",
    "nonstandard-residues": "too many residues outside the twenty",
    "low-complexity": "mostly of low complexity",
    "unreadable-entry": "an entry that could not be read",
    "unreadable-alignment": "an alignment that could not be read",
    "no-alignment": "an entry that is no alignment",
    "unequal-columns": "a row with another number of columns",
    "unequal-fields": "a row with another number of fields",
    "missing-sequence": "a row without a sequence",
}
"""What the reasons mean."""

AMINO_ACIDS = {
    "A": ("alanine", 8.25),
    "C": ("cysteine", 1.38),
    "D": ("aspartate", 5.46),
    "E": ("glutamate", 6.72),
    "F": ("phenylalanine", 3.86),
    "G": ("glycine", 7.08),
    "H": ("histidine", 2.27),
    "I": ("isoleucine", 5.91),
    "K": ("lysine", 5.80),
    "L": ("leucine", 9.65),
    "M": ("methionine", 2.41),
    "N": ("asparagine", 4.05),
    "P": ("proline", 4.73),
    "Q": ("glutamine", 3.93),
    "R": ("arginine", 5.53),
    "S": ("serine", 6.63),
    "T": ("threonine", 5.35),
    "V": ("valine", 6.86),
    "W": ("tryptophan", 1.09),
    "Y": ("tyrosine", 2.92),
}
"""Name and per cent of all residues in Swiss-Prot (its release statistics of August 2020,
https://web.expasy.org/docs/relnotes/relstat.html); they move by less than 0.1 in ten years."""
