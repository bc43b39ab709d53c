"""Permutation language modelling, as XLNet and ProtXLNet train (Yang et al. 2019, arXiv:1906.08237).

::

    input_ids          cls  M   K   T   V   R  eos   G  …
    permutation_rank    -1 -1   1  -1   0  -1   -1  -1  …    two targets: V is predicted first, then K
    labels               .  .   K   .   V   .    .   .  …

A query of token i sees token j of the same segment if ``rank[j] < rank[i]``: the context, and the targets predicted
before it. Content streams see ``rank[j] <= rank[i]``. So nothing that a query sees has seen its own token, through any
number of layers. In torch, with ``same`` the mask of equal ``sequence_id``::

    query_mask = same & (rank[:, None, None, :] < rank[:, None, :, None])
    content_mask = same & (rank[:, None, None, :] <= rank[:, None, :, None])
"""

import numpy as np
import numpy.typing as npt

from pipeline.core.masking import IGNORED
from pipeline.core.permutation_ranks import permutation_ranks
from pipeline.core.ragged import ramps
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives.base import SEGMENT_COLUMNS, Batch, ObjectiveContext


class PermutationLM:
    """Permutation language modelling: residues in a random order, the last of which are predicted from those before.

    The batch gains ``labels`` as with masked LM, the tokens of the targets, and ``permutation_rank`` int16 [rows,
    length] (int32 for rows above 32,767 tokens): 0, 1, 2, … on the targets of a segment in the order in which they are
    predicted, −1 on its context, on special tokens and on padding. Ranks compare within a segment only: the mask needs
    ``sequence_id``, too. ``input_ids`` stays as it is.

    In zihangdai/xlnet (``_local_perm``) special tokens have ranks of their own and are seen from these on; here they
    are context, and see context only. Targets are single residues drawn at random, where that code takes short spans;
    what ProtXLNet did is not verified.

    Args:
        predicted: The share of a segment's residues that are targets, at least one; 1 for all of them.

    Raises:
        ConfigurationError: It is not above 0 and up to 1.
    """

    columns = SEGMENT_COLUMNS

    def __init__(self, predicted: float = 1 / 6) -> None:
        if not 0.0 < predicted <= 1.0:
            raise ConfigurationError(f"predicted: expected a share above 0 and up to 1, found {predicted}")
        self.predicted = predicted

    @property
    def name(self) -> str:
        """Such as ``permutation-lm(0.167)``."""
        return f"permutation-lm({self.predicted:.3g})"

    def __call__(self, batch: Batch, context: ObjectiveContext) -> Batch:
        """The batch with ``labels`` and ``permutation_rank``."""
        segments, input_ids = context.segments(batch), batch["input_ids"]
        ranks = permutation_ranks(segments, self.predicted, seed=context.seed, epoch=context.epoch)
        is_short = input_ids.shape[1] <= np.iinfo(np.int16).max
        rank: npt.NDArray[np.signedinteger] = np.full(input_ids.size, -1, dtype=np.int16 if is_short else np.int32)
        rank[ramps(segments.num_residues(), segments.first_residues(input_ids.shape[1]))] = ranks
        labels = input_ids.reshape(-1).astype(context.label_type)
        labels[rank < 0] = IGNORED
        shape = input_ids.shape
        return {**batch, "labels": labels.reshape(shape), "permutation_rank": rank.reshape(shape)}
