"""In which order a reader gives rows, by name.

::

    shuffled     seeded; 192 lanes of row groups that are open together
    stored       as they are stored, dealt to the ranks one by one
    contiguous   as they are stored; place j of the global batch reads on where it stopped (core/contiguous_lanes.py)
    bucketed     row groups in a seeded order, one after another, the rows of each shuffled: where rows are stored by
                 length (``pack --algorithm pad --order length``) those of a batch are about equally long. Each rank
                 reads every row group.
"""

from enum import StrEnum

from pipeline.core.contiguous_lanes import ContiguousLanes
from pipeline.core.group_index import GroupIndex
from pipeline.core.lanes import Lanes
from pipeline.core.ordering import EpochOrder
from pipeline.errors import ConfigurationError


class Order(StrEnum):
    """How rows follow each other in an epoch."""

    SHUFFLED = "shuffled"
    STORED = "stored"
    CONTIGUOUS = "contiguous"
    BUCKETED = "bucketed"

    @property
    def is_seeded(self) -> bool:
        """Whether epochs and seeds have orders of their own."""
        return self in {Order.SHUFFLED, Order.BUCKETED}


def check_order(name: str | None, *, shuffle: bool) -> Order:
    """The order of this name; where none is given, shuffled or stored.

    Raises:
        ConfigurationError: There is none.
    """
    if name is None:
        return Order.SHUFFLED if shuffle else Order.STORED
    if name not in list(Order):
        raise ConfigurationError(f"order: expected one of {', '.join(Order)}, found {name!r}")
    return Order(name)


def order_name(order: Order, global_batch: int) -> str | None:
    """What a reader's state says of an order, beyond whether it is seeded: None of the shuffled and the stored one.

    The contiguous order is another one for each global batch.
    """
    if order == Order.CONTIGUOUS:
        return f"{order.value}, {global_batch} rows a step"
    return order.value if order == Order.BUCKETED else None


def epoch_order(
    order: Order, groups: GroupIndex, *, fingerprint: str, seed: int, epoch: int, global_batch: int
) -> EpochOrder:
    """The order of one epoch.

    Args:
        order: Which.
        groups: The row groups of the epoch.
        fingerprint: Of the dataset.
        seed: Of the run.
        epoch: Of the run.
        global_batch: Rows that all ranks together take at a step.
    """
    lanes: Lanes | ContiguousLanes | None = None
    if order == Order.CONTIGUOUS:
        lanes = ContiguousLanes(groups.num_rows, global_batch)
    elif order == Order.BUCKETED:
        lanes = Lanes(groups.num_rows, 1)
    return EpochOrder(groups, fingerprint=fingerprint, seed=seed, epoch=epoch, shuffle=order.is_seeded, lanes=lanes)
