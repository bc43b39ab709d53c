"""Arguments of the readers, checked: each function returns what it was given, or says what was expected."""

from pipeline.config import Tail
from pipeline.core.steps import Steps
from pipeline.errors import ConfigurationError
from pipeline.streaming.columns import SequenceIds


def at_least(name: str, value: int, least: int) -> int:
    """The value itself.

    Raises:
        ConfigurationError: It is less than that.
    """
    if value < least:
        raise ConfigurationError(f"{name}: expected at least {least}, found {value}")
    return value


def check_rank(rank: int, world_size: int) -> int:
    """The rank itself.

    Raises:
        ConfigurationError: There is no such rank in a world of this size.
    """
    if not 0 <= rank < world_size:
        raise ConfigurationError(f"rank: expected 0 to {world_size - 1} for world_size {world_size}, found {rank}")
    return rank


def check_tail(tail: str | None, split: str) -> str:
    """The name itself, or the one that is meant where none is given.

    Raises:
        ConfigurationError: There is no such tail.
    """
    if tail is None:
        return Tail.REPEAT if split == "train" else Tail.PAD
    if tail not in list(Tail):
        raise ConfigurationError(f"tail: expected one of {', '.join(Tail)}, found {tail!r}")
    return tail


def check_sequence_ids(name: str) -> SequenceIds:
    """The convention of this name.

    Raises:
        ConfigurationError: There is none.
    """
    if name not in list(SequenceIds):
        raise ConfigurationError(f"sequence_ids: expected one of {', '.join(SequenceIds)}, found {name!r}")
    return SequenceIds(name)


def nothing_left(steps: Steps) -> ConfigurationError:
    """The error that these rows make no step."""
    return ConfigurationError(
        f"tail {steps.tail}: {steps.num_rows} rows do not fill one global batch of {steps.global_batch}: no step left",
        hint="take a smaller batch_size, or another tail: repeat or pad",
    )
