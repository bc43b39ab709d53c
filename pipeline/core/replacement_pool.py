"""What a random replacement is drawn from: a model family's choice, and small print in which families differ.

===============  =======================================================  ============================================
pool             a selected residue becomes one of                        used by
===============  =======================================================  ============================================
residues         the 20 standard residues, itself included                default: ESM
other-residues   the 20 standard residues but itself                      ProtBert, ProtT5 (their model cards)
letters          every token of a letter, X B U Z O among them            AMPLIFY (conf/trainer/mlm.yaml of its code)
vocabulary       every token, special ones among them                     Hugging Face's DataCollatorForLanguageModeling
===============  =======================================================  ============================================

Which pool ESM-1b and ESM-2 were trained with is not in their released code; the 20 residues are this package's choice.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from pipeline.core.randomness import UInt64Array, below

IntArray = npt.NDArray[np.integer]


class ReplacementPool(StrEnum):
    """What random replacements are drawn from."""

    RESIDUES = "residues"
    """The 20 standard residues, the original among them."""
    OTHER_RESIDUES = "other-residues"
    """The 20 standard residues except the original."""
    LETTERS = "letters"
    """Every token that is a letter."""
    VOCABULARY = "vocabulary"
    """Every token, as special as it may be."""


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Tokens to draw from.

    Attributes:
        tokens: Different ones, integers [size].
        avoids_original: Whether a token is never replaced by itself; then there are at least two.
    """

    tokens: IntArray
    avoids_original: bool = False

    def draw(self, bits: UInt64Array, originals: IntArray) -> IntArray:
        """A token for each draw, of the dtype of ``tokens``.

        Args:
            bits: uint64 [replaced].
            originals: Integers [replaced]; one that is not in the pool is replaced by any token of it.
        """
        if not self.avoids_original:
            return np.asarray(self.tokens[below(bits, len(self.tokens))])
        size = len(self.tokens)
        place_of_token = np.full(max(int(self.tokens.max()), int(originals.max(initial=0))) + 1, size)
        place_of_token[self.tokens] = np.arange(size)
        place = place_of_token[originals]
        picks = below(bits, size - (place < size)).astype(np.int64)
        picks += picks >= place
        return np.asarray(self.tokens[picks])


POOL_OF_FAMILY: dict[str, ReplacementPool] = {
    "protbert": ReplacementPool.OTHER_RESIDUES,
    "prott5": ReplacementPool.OTHER_RESIDUES,
    "amplify": ReplacementPool.LETTERS,
}
"""By the name of the tokenizer; any other family has ``residues``."""
