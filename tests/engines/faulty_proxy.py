"""A TCP proxy that cuts, stalls, corrupts, drips and refuses, on 127.0.0.1 only.

Each connection takes the next fault of the schedule; when there are no more, bytes pass as they are::

    client ──▶ FaultyProxy ──▶ server          faults touch what the server sends, from byte `after` on
"""

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What goes wrong."""

    NONE = "none"
    CUT = "cut"
    """The connection ends, as if the server had said all."""
    RESET = "reset"
    """The connection is reset."""
    STALL = "stall"
    """Nothing more comes, and the connection stays."""
    DRIP = "drip"
    """Bytes come one by one, a tenth of a second apart."""
    CORRUPT = "corrupt"
    """One byte is turned into another."""
    REFUSE = "refuse"
    """The connection is reset before anything is said."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a connection, and when."""

    kind: Kind = Kind.NONE
    after: int = 0
    """Bytes from the server, its headers included, before it does."""


def random_faults(rng, number, most_bytes, kinds=tuple(Kind)):
    """A schedule, drawn with ``random.Random``."""
    return [
        Fault(rng.choice(kinds), rng.choice([rng.randrange(400), rng.randrange(most_bytes)])) for _ in range(number)
    ]


class FaultyProxy:
    """A context manager; ``proxy.url`` is where it is."""

    def __init__(self, target_url, faults=()):
        self.target = ("127.0.0.1", int(target_url.rpartition(":")[2]))
        self.faults = list(faults)
        self.num_connections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks = set()
        self._writers = set()

    def __enter__(self):
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *details):
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self):
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _finish(self):
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in list(self._writers):
            writer.close()
        await asyncio.sleep(0.01)

    async def _accept(self, reader, writer):
        self._tasks.add(task := asyncio.current_task())
        self._writers.add(writer)
        fault = self.faults.pop(0) if self.faults else Fault()
        self.num_connections += 1
        try:
            if fault.kind is Kind.REFUSE:
                _reset(writer)
                return
            await self._join(reader, writer, fault)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            with contextlib.suppress(Exception):
                writer.close()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _join(self, reader, writer, fault):
        from_server, to_server = await asyncio.open_connection(*self.target)
        self._writers.add(to_server)
        asking = asyncio.ensure_future(_pass_on(reader, to_server))
        try:
            await _send(from_server, writer, fault)
        finally:
            asking.cancel()
            to_server.close()
            self._writers.discard(to_server)


async def _pass_on(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


async def _send(reader, writer, fault):
    passed = 0
    while data := await reader.read(1 << 14):
        if fault.kind is Kind.NONE or passed + len(data) <= fault.after:
            writer.write(data)
            await writer.drain()
            passed += len(data)
            continue
        keep = max(0, fault.after - passed)
        writer.write(data[:keep])
        await writer.drain()
        if fault.kind is Kind.CUT:
            return
        if fault.kind is Kind.RESET:
            _reset(writer)
            return
        if fault.kind is Kind.STALL:
            await asyncio.sleep(3600)
        if fault.kind is Kind.CORRUPT:
            data = data[:keep] + bytes([data[keep] ^ 0x15]) + data[keep + 1 :]
            fault = Fault()
            writer.write(data[keep:])
            passed += len(data)
            continue
        for byte in data[keep:]:  # drip
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.1)


def _reset(writer):
    # Lingering for no time makes the kernel send a reset instead of a farewell.
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
