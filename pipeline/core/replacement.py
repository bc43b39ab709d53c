"""Replacing letters before anything else looks at them: ``UZOB=X``, as ProtTrans trained.

::

    UZOB=X   J=L         ABCDEFGHIJKLMNOPQRSTUVWXYZ
                         AXCDEFGHILKLMNXPQRSTXVWXYX      all at once, so the order of rules means nothing

Keys, duplicates, filters and counts are of the letters that come out. Cost: one pass over the residues.
"""

import numpy as np

from pipeline.core.alphabet import NORMALISE, RESIDUES, ByteArray
from pipeline.errors import ConfigurationError

IDENTITY = bytes(range(256))
"""The table that replaces nothing."""

_HINT = "write LETTERS=LETTER, as in UZOB=X"


def replacement_table(*rules: str) -> bytes:
    """The table of any number of rules.

    Args:
        rules: ``LETTERS=LETTER`` each: every letter on the left becomes the one on the right. Case does not matter.

    Returns:
        256 bytes, for ``bytes.translate`` or :func:`replace_residues`. Normalise residues to upper case first.

    Raises:
        ConfigurationError: A rule is not of that form or replaces a letter by itself, or rules disagree: a letter gets
            two replacements, or one that is itself replaced.
    """
    replaced: dict[int, int] = {}
    for rule in rules:
        letters, replacement = _parse(rule)
        for letter in letters:
            if replaced.setdefault(letter, replacement) != replacement:
                found = f"{chr(replaced[letter])} and {chr(replacement)}"
                raise ConfigurationError(f"replace {rule}: expected one replacement of {chr(letter)}, found {found}")
    if chained := sorted(set(replaced) & set(replaced.values())):
        raise ConfigurationError(
            f"replace {', '.join(rules)}: {chr(chained[0])} is both replaced and a replacement",
            hint="rules apply all at once, not one after another",
        )
    return bytes(replaced.get(character, character) for character in IDENTITY)


def _parse(rule: str) -> tuple[bytes, int]:
    left, equals, right = rule.partition("=")
    letters, replacement = (side.encode().translate(NORMALISE) for side in (left, right))
    if not equals or not letters or len(replacement) != 1:
        raise ConfigurationError(f"replace {rule!r}: expected letters, '=' and one letter", hint=_HINT)
    if foreign := [character for character in letters + replacement if character not in RESIDUES]:
        found = bytes(foreign).decode(errors="replace")
        raise ConfigurationError(f"replace {rule!r}: expected letters A to Z, found {found!r}", hint=_HINT)
    if replacement[0] in letters:
        raise ConfigurationError(f"replace {rule!r}: {replacement.decode()} would be replaced by itself", hint=_HINT)
    return letters, replacement[0]


def replace_residues(residues: ByteArray, table: bytes) -> tuple[ByteArray, int]:
    """The residues with some replaced, and how many were.

    Args:
        residues: uint8[total], upper case.
        table: What each of the 256 characters becomes.

    Returns:
        uint8[total], the same array if nothing changes, and the number of residues that are others now.
    """
    replaced = np.frombuffer(residues.tobytes().translate(table), dtype=np.uint8)
    num_replaced = int(np.count_nonzero(replaced != residues))
    return (replaced, num_replaced) if num_replaced else (residues, 0)
