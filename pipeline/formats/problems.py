"""Damaged records: the end of the reading, or left out and counted.

Readers report what they cannot make a record of here and go on if they are let::

    problems.report("unequal-columns", InputFormatError(…))     raises, or counts and returns
    continue                                                    the place in the file is not lost

Only damage behind which the next record can be found is reported. A file that is cut short, or that is something else
altogether, raises whatever the policy is.

What is skipped by the rules of a format is counted in the blocks of records around it. Where no record is left, no
block is: then it is counted here (:meth:`Problems.pass_over`).
"""

from collections import Counter
from collections.abc import Mapping
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
        self.skipped: Counter[str] = Counter()
        """What no block of records could tell as skipped, by name; see ``RecordBlock.skipped``."""
        self.num_comment_lines = 0
        """Comment lines that no block could tell."""

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

    def pass_over(self, skipped: Mapping[str, int], num_comment_lines: int = 0) -> None:
        """Count what a reader has skipped at the end of an input of which no record is left.

        Args:
            skipped: As ``RecordBlock.skipped`` has it.
            num_comment_lines: As ``RecordBlock.num_comment_lines`` has it.
        """
        self.skipped.update(skipped)
        self.num_comment_lines += num_comment_lines
