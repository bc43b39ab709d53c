"""Where a reader stands: what a trainer keeps in its checkpoint, a few numbers and two names.

``rows_delivered`` counts the rows of the epoch that all ranks together have been given, from the first one on. It says
nothing of ranks, batch sizes or workers, so that another world can go on from it without reading anything again. A
state taken at the end of an epoch is the start of the next one.

Where row groups were quarantined the state says which (:mod:`pipeline.streaming.quarantine`): those that the rank knew
of that gave it. A reader adds them to what it knows itself, so that whichever rank's state is kept, and whoever loads
it, no row is counted twice.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from pipeline.core.ordering import ORDER_VERSION
from pipeline.errors import StateError

_HINTS = {
    "fingerprint": "continue with the shards that the state was saved with, or begin without a state",
    "order_version": "continue with the version of pipeline that the state was saved with, or begin without a state",
    "seed": "give the reader the seed that the state was saved with",
    "split": "load the state into a reader of the same split",
    "shuffle": "give the reader the same value of shuffle",
    "order": "give the reader the same order, and for the contiguous one the same rows a step of all ranks",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderState:
    """A position in the stream of epochs, and what the stream is."""

    fingerprint: str
    """Of the shards."""
    seed: int
    """Of the run."""
    epoch: int
    """The epoch the next batch belongs to."""
    rows_delivered: int
    """Rows of the epoch that all ranks together have been given."""
    order_version: int = ORDER_VERSION
    """Of ``core.ordering``."""
    split: str = "train"
    """Which rows."""
    shuffle: bool = True
    """Whether they come in a seeded order."""
    order: str | None = None
    """Which, if it is neither the shuffled nor the stored one (:func:`pipeline.streaming.orders.order_name`)."""
    quarantined: dict[str, Any] | None = None
    """Row groups that gave padding, if there are any."""

    def document(self) -> dict[str, Any]:
        """Plain values; ``order`` and ``quarantined`` only where there is something to say."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_document(cls, document: dict[str, Any], *, reader: "ReaderState") -> Self:
        """The state that a document describes.

        Args:
            document: What :meth:`document` returned; ``split``, ``shuffle``, ``order`` and ``quarantined`` may be
                missing.
            reader: The state of the reader that is to continue from it.

        Raises:
            StateError: The document is no state, or of another dataset, seed, split or order.
        """
        known = {field.name for field in fields(cls)}
        missing = {"fingerprint", "seed", "epoch", "rows_delivered", "order_version"} - document.keys()
        if missing:
            raise StateError(f"reader state: expected the key {min(missing)}, found {', '.join(document) or 'none'}")
        state = cls(**{key: value for key, value in document.items() if key in known})
        for name, hint in _HINTS.items():
            expected, found = getattr(reader, name), getattr(state, name)
            if (name in document or name == "order") and found != expected:
                raise StateError(f"reader state: {name}: this reader has {expected}, the state has {found}", hint=hint)
        if state.epoch < 0 or state.rows_delivered < 0:
            raise StateError(f"reader state: epoch {state.epoch}, rows_delivered {state.rows_delivered}: below zero")
        return state

    def steps_done(self, *, batch_size: int, world_size: int) -> int:
        """Steps of the epoch that are done, for ranks and batches that may differ from those before.

        Raises:
            StateError: The rows delivered do not fill whole global batches; names batch sizes that fit.
        """
        global_batch = batch_size * world_size
        steps, rest = divmod(self.rows_delivered, global_batch)
        if rest:
            raise StateError(
                f"reader state: {self.rows_delivered} rows delivered are no multiple of the global batch of "
                f"{global_batch} (batch_size {batch_size} times world_size {world_size})",
                hint=_fitting(self.rows_delivered, batch_size, world_size),
            )
        return steps


def epoch_of(document: Mapping[str, Any]) -> int:
    """The epoch that a state stands in; 0 where it does not say one that can be."""
    epoch = document.get("epoch")
    return epoch if isinstance(epoch, int) and epoch >= 0 else 0


def _fitting(rows: int, batch_size: int, world_size: int) -> str:
    if rows % world_size:
        divisors = _divisors_near(rows, batch_size * world_size)
        return f"batch_size times world_size has to divide {rows}: {divisors} do"
    divisors = _divisors_near(rows // world_size, batch_size)
    return f"with world_size {world_size}, batch sizes that fit are {divisors}"


def _divisors_near(number: int, target: int) -> str:
    divisors = [size for size in range(1, min(number, 2 * target) + 1) if number % size == 0]
    nearest = sorted(divisors, key=lambda size: abs(size - target))[:4]
    return ", ".join(map(str, sorted(nearest)))
