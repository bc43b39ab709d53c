"""How long to go on when a server does not answer: exponential back-off with jitter, and what the server asks for.

::

    fault ──▶ wait 1 s ──▶ fault ──▶ wait 2 s ──▶ fault ──▶ wait 4 s … 60 s ──▶ give up after `attempts` in a row
                              └ enough bytes came through in between: count from the start again

Waits are jittered to between half and all of their length, so that connections that fell together do not come back
together. A ``Retry-After`` is kept to, up to an hour. Time comes from a clock argument; tests pass one that runs fast.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pipeline.errors import ConfigurationError, TransferError

Notify = Callable[[str], None]
"""Takes a sentence for the person who waits."""

Result = TypeVar("Result")

FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
LONGEST_RETRY_AFTER = 3600.0


class ConnectionLostError(Exception):
    """A fault that may pass: try again.

    Args:
        reason: What happened.
        retry_after: Seconds the server asks to wait.
        is_crowded: The server said that it has too much to do (429, 503).
    """

    def __init__(self, reason: str, *, retry_after: float | None = None, is_crowded: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        self.is_crowded = is_crowded


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float:
        """Seconds since some moment; never goes back."""
        ...

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Let time pass, or less of it when ``stop`` is set."""
        ...


class SystemClock:
    """The time of this machine."""

    def now(self) -> float:
        """Seconds since some moment; never goes back."""
        return time.monotonic()

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Let time pass, or less of it when ``stop`` is set."""
        stop.wait(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferOptions:
    """How to fetch a file. Nothing here changes what it holds."""

    connections: int = 4
    """Byte ranges that are fetched at the same time, where the server allows it."""
    read_timeout: float = 60.0
    """Seconds without a byte, or with fewer than 1 KiB/s, after which a connection counts as lost."""
    attempts: int = 10
    """Faults in a row, without progress between them, after which to give up."""
    progress_bytes: int = 1 << 20
    """Bytes between two faults that count as progress."""
    piece_bytes: int | None = None
    """Size of the byte ranges; None takes a sixteenth of each connection's share, 8 MiB to 1 GiB."""
    checkpoint_seconds: float = 5.0
    """How often it is written down what has been fetched."""

    def __post_init__(self) -> None:
        for name in ("connections", "read_timeout", "attempts"):
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"{name.replace('_', '-')} {getattr(self, name)}: expected more than 0")


class Patience:
    """Counts faults in a row, and waits between attempts."""

    def __init__(
        self,
        where: str,
        options: TransferOptions,
        clock: Clock,
        *,
        notify: Notify,
        stop: threading.Event | None = None,
    ) -> None:
        self._where = where
        self._options = options
        self._clock = clock
        self._notify = notify
        self._stop = stop or threading.Event()
        self.num_faults = 0

    def endure(self, fault: ConnectionLostError, *, gained: int = 0) -> None:
        """Wait before the next attempt.

        Args:
            fault: What happened.
            gained: Bytes that came through before it.

        Raises:
            TransferError: It was one fault too many, or the server asks for more time than anyone has.
        """
        self.num_faults = 1 if gained >= self._options.progress_bytes else self.num_faults + 1
        if self.num_faults >= self._options.attempts:
            raise TransferError(
                f"{self._where}: {fault.reason}: gave up after {self.num_faults} attempts without progress",
                hint="run the same command again later: what was fetched is kept",
            ) from fault
        seconds = self._seconds(fault)
        self._notify(f"{self._where}: {fault.reason}: trying again in {seconds:.0f} s")
        self._clock.wait(seconds, self._stop)

    def _seconds(self, fault: ConnectionLostError) -> float:
        asked = fault.retry_after or 0.0
        if asked > LONGEST_RETRY_AFTER:
            raise TransferError(
                f"{self._where}: {fault.reason}, and asks to come back in {asked / 3600:.1f} hours",
                hint="run the same command again then: what was fetched is kept",
            ) from fault
        full = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (self.num_faults - 1))
        jittered = full * random.uniform(0.5, 1.0)  # noqa: S311  (nothing that is kept depends on it)
        return max(asked, jittered)


def persist(attempt: Callable[[], Result], patience: Patience) -> Result:
    """What ``attempt`` returns, tried again after every fault that may pass.

    Raises:
        TransferError: Too many faults in a row.
    """
    while True:
        try:
            return attempt()
        except ConnectionLostError as fault:
            patience.endure(fault)
