"""Several connections that fill one partial file.

Each connection takes the first piece that nobody has, fetches it, and takes the next; so the file grows from the front
and what there is can be hashed while the rest comes. A fault costs the connection a wait, not its piece: it goes on
where it stopped. When the server says that it has too much to do while it serves the others, the connection ends and
leaves the work to them::

    waiting    ··········█████
    piece      0    1    2    3    4    5
    A          ████████
    B               ███      ✗ 503: B ends, its piece goes back
    C                    ███████▏

The thread that called watches (``tick``): it hashes, writes checkpoints and tells how far it is, ten times a second.
"""

import queue
import threading
from collections.abc import Callable
from contextlib import closing

from pipeline.engines.origin import Origin, RangeRefusedError, RemoteFacts
from pipeline.engines.partial_file import ClosedError, PartialFile
from pipeline.engines.patience import Clock, ConnectionLostError, Notify, Patience, TransferOptions

TICK_SECONDS = 0.1
LEAVE_SECONDS = 1.0
SLOWEST_BYTES = 1024
"""Bytes a second below which a connection counts as lost."""
REFUSALS = 3
"""Refused ranges in a row after which what has been fetched is given up for one stream."""


class Connections:
    """The connections of one transfer.

    Args:
        origin: Where the bytes are.
        facts: The file that is fetched; without ranges there is one connection, which begins anew after a fault.
        partial: Where the bytes go.
        options: How many connections, and how patient they are.
        clock: Time.
        notify: Takes sentences for people; called in the thread that calls :meth:`run`.
    """

    def __init__(
        self,
        origin: Origin,
        facts: RemoteFacts,
        partial: PartialFile,
        *,
        options: TransferOptions,
        clock: Clock,
        notify: Notify,
    ) -> None:
        self._origin = origin
        self._facts = facts
        self._partial = partial
        self._options = options
        self._clock = clock
        self._notify = notify
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._waiting = partial.pieces.missing
        self._healthy: set[int] = set()
        self._num_running = 0
        self._error: BaseException | None = None
        self._sentences: queue.SimpleQueue[str] = queue.SimpleQueue()

    def run(self, tick: Callable[[], None]) -> None:
        """Fetch every missing piece.

        Raises:
            BaseException: Whatever ended a connection for good; the others are stopped.
        """
        number = min(len(self._waiting), self._options.connections if self._facts.takes_ranges else 1)
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(number)]
        self._num_running = number
        try:
            for thread in threads:
                thread.start()
            while self._is_busy():
                tick()
                self._tell()
        finally:
            # A connection that hangs in a read need not be waited for: the partial file takes no more from it.
            self._stop.set()
            for thread in threads:
                thread.join(LEAVE_SECONDS / number)
            self._tell()
        if self._error is not None:
            raise self._error
        assert not self._partial.pieces.missing, "connections end when every piece is there, or one has failed"

    def _is_busy(self) -> bool:
        with self._changed:
            if self._num_running and self._error is None:
                self._changed.wait(TICK_SECONDS)
            return self._num_running > 0 and self._error is None

    def _tell(self) -> None:
        while not self._sentences.empty():
            self._notify(self._sentences.get())

    def _work(self) -> None:
        try:
            patience = Patience(
                self._origin.where, self._options, self._clock, notify=self._sentences.put, stop=self._stop
            )
            while (piece := self._take()) is not None and self._fetch(piece, patience):
                pass
        except ClosedError:
            pass
        except BaseException as error:  # noqa: BLE001  (raised again in the thread that called)
            self._error = self._error or error
        finally:
            with self._changed:
                self._num_running -= 1
                self._changed.notify_all()

    def _take(self) -> int | None:
        with self._changed:
            if self._waiting and not self._stop.is_set():
                return self._waiting.pop(0)
            # In the same breath: a piece must not be left to one that has just gone home.
            self._healthy.discard(threading.get_ident())
            return None

    def _fetch(self, piece: int, patience: Patience) -> bool:
        """Fetch a piece; False when this connection was one too many and gave it back."""
        num_refusals = 0
        furthest = self._partial.pieces.done[piece]
        while not self._partial.pieces.is_whole(piece):
            if not self._facts.takes_ranges:
                self._partial.forget(piece)
            try:
                self._stream(piece)
            except ConnectionLostError as fault:
                with self._changed:
                    self._healthy.discard(threading.get_ident())
                if fault.is_crowded and self._give_back(piece):
                    return False
                reached = self._partial.pieces.done[piece]
                patience.endure(fault, gained=reached - furthest)
                furthest = max(furthest, reached)
            except RangeRefusedError as refusal:
                num_refusals += 1
                if num_refusals == REFUSALS or not any(self._partial.pieces.done):
                    raise
                patience.endure(ConnectionLostError(str(refusal)))
        return True

    def _give_back(self, piece: int) -> bool:
        with self._changed:
            if not self._healthy:
                return False
            self._waiting.insert(0, piece)
            return True

    def _stream(self, piece: int) -> None:
        if self._stop.is_set():
            raise ClosedError
        start, end = self._partial.pieces.bounds(piece)
        start += self._partial.pieces.done[piece]
        since, came = self._clock.now(), 0
        with closing(self._origin.blocks(self._facts, start, end)) as blocks:
            for block in blocks:
                self._partial.write(piece, block)
                with self._changed:
                    self._healthy.add(threading.get_ident())
                came += len(block)
                if (seconds := self._clock.now() - since) >= self._options.read_timeout:
                    _check_speed(came, seconds)
                    since, came = self._clock.now(), 0
        if end is None:
            self._partial.ends_here()


def _check_speed(came: int, seconds: float) -> None:
    if came < SLOWEST_BYTES * seconds:
        raise ConnectionLostError(f"only {came:,} bytes came in {seconds:.0f} s")
