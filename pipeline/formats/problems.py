"""Damaged records: the end of the reading, or left out and counted.

Readers report what they cannot make a record of here and go on if they are let::

    problems.report("unequal-columns", InputFormatError(…))     raises, or counts and returns
    continue                                                    the place in the file is not lost

Only damage behind which the next record can be found is reported. A file that is cut short, or that is something else
altogether, raises whatever the policy is.
"""

from collections import Counter
from enum import StrEnum

from pipeline.errors import InputFormatError

MAX_EXAMPLES = 5
"""How many messages are kept."""


class OnError(StrEnum):
    """What becomes of a record that cannot be read."""

    STOP = "stop"
    """The first one is an error."""
    SKIP = "skip"
    """It is left out and counted; the first few messages are kept."""


class Problems:
    """What could not be read, by name and by example; one for each input, whatever its format.

    Args:
        on_error: What becomes of a damaged record.
    """

    def __init__(self, on_error: OnError = OnError.STOP) -> None:
        self.on_error = on_error
        self.counts: Counter[str] = Counter()
        """Records left out, by reason."""
        self.examples: list[str] = []
        """The first ``MAX_EXAMPLES`` messages, in the order of the input."""

    def report(self, reason: str, error: InputFormatError) -> None:
        """Count a damaged record under a reason.

        Args:
            reason: A machine name, such as ``unequal-columns``.
            error: What is wrong with it and where.

        Raises:
            InputFormatError: ``error`` itself, if the policy is to stop.
        """
        if self.on_error is OnError.STOP:
            raise error
        self.counts[reason] += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(error.message)
