"""What is there is known, what is known is there, and nothing earlier counts for another file."""

import hashlib
import json
import os
import threading

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engines import partial_file
from pipeline.engines.connections import Connections
from pipeline.engines.digests import digests_of
from pipeline.engines.origin import RemoteFacts
from pipeline.engines.partial_file import PartialFile, Pieces
from pipeline.engines.patience import SystemClock, TransferOptions
from pipeline.errors import ConfigurationError
from pipeline.formats.checksums import Checksum

DATA = bytes(range(256))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def document(path):
    return json.loads(path.with_name(path.name + ".partial.json").read_text())


def begin(tmp_path, identity):
    return PartialFile(tmp_path / "f", url="x", num_bytes=20, identity=identity, piece_bytes=10)


@settings(max_examples=60)
@given(num_bytes=st.integers(0, 100), piece_bytes=st.integers(1, 30), data=st.data())
def test_pieces_tile_the_file_and_the_prefix_has_no_hole(num_bytes, piece_bytes, data):
    pieces = Pieces.none_of(num_bytes, piece_bytes)
    bounds = [pieces.bounds(piece) for piece in range(len(pieces.done))]
    assert [byte for start, end in bounds for byte in range(start, end)] == list(range(num_bytes))
    pieces.done = [data.draw(st.integers(0, end - start)) for start, end in bounds]
    there = {start + offset for (start, _), done in zip(bounds, pieces.done, strict=True) for offset in range(done)}
    expected = next((byte for byte in range(num_bytes) if byte not in there), num_bytes)
    assert pieces.prefix == expected
    assert (not pieces.missing) == (len(there) == num_bytes)


def test_what_an_earlier_file_left_is_disowned_before_the_first_byte_of_another(tmp_path):
    with begin(tmp_path, "first") as partial:
        partial.write(1, b"abc")
    assert document(tmp_path / "f")["done"] == [0, 3]
    with begin(tmp_path, "first") as partial:
        assert partial.pieces.done == [0, 3]
    with begin(tmp_path, "second") as partial:
        assert partial.pieces.done == [0, 0]
        # A kill from here on must not leave the first file's claims over the second one's bytes.
        assert not (tmp_path / "f.partial.json").exists()


def test_bytes_are_on_the_disk_before_the_document_says_so(tmp_path, monkeypatch):
    done = []
    with begin(tmp_path, "first") as partial:
        partial.write(0, b"abc")
        monkeypatch.setattr(partial_file.os, "fsync", done.append)
        monkeypatch.setattr(partial_file, "write_json", lambda path, content: done.append(content["done"]))
        partial.checkpoint()
    assert done[:2] == [partial.descriptor, [3, 0]]


def test_a_piece_is_not_left_to_a_connection_that_has_gone_home(tmp_path):
    with begin(tmp_path, "first") as partial:
        facts = RemoteFacts(num_bytes=20, etag="first", takes_ranges=True)
        lines = Connections(None, facts, partial, options=TransferOptions(), clock=SystemClock(), notify=lambda _: None)
        lines._healthy.add(threading.get_ident())
        assert lines._give_back(lines._take())
        assert [lines._take(), lines._take(), lines._take()] == [0, 1, None]
        assert not lines._give_back(0)


def test_nothing_is_written_after_the_end(tmp_path):
    with begin(tmp_path, "first") as partial:
        pass
    with pytest.raises(partial_file.ClosedError):
        partial.write(0, b"abc")


def test_without_an_identity_nothing_is_kept(tmp_path):
    with begin(tmp_path, None) as partial:
        partial.write(0, b"abc")
    assert names(tmp_path) == ["f.partial"]
    with begin(tmp_path, None) as partial:
        assert partial.pieces.done == [0, 0]


@pytest.mark.parametrize("begun_again", [False, True])
def test_a_file_that_another_process_named_meanwhile_is_not_written_to(tmp_path, monkeypatch, begun_again):
    real = os.open

    def overtaken(path, *arguments):
        descriptor = real(path, *arguments)
        (tmp_path / "f.partial").replace(tmp_path / "f")
        if begun_again:
            (tmp_path / "f.partial").write_bytes(b"")
        return descriptor

    (tmp_path / "f.partial").write_bytes(DATA)
    monkeypatch.setattr(partial_file.os, "open", overtaken)
    with pytest.raises(ConfigurationError, match="another process has just fetched it"):
        PartialFile(tmp_path / "f", url="x", num_bytes=10, identity="a", piece_bytes=10)
    assert (tmp_path / "f").read_bytes() == DATA


def test_digests_of_a_file_that_is_there_or_not(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(DATA)
    num_bytes, digests = digests_of(path, Checksum("md5", "0" * 32))
    assert num_bytes == len(DATA)
    assert digests == {
        "xxh3_64": xxhash.xxh3_64_hexdigest(DATA),
        "xxh3_128": xxhash.xxh3_128_hexdigest(DATA),
        "md5": hashlib.md5(DATA).hexdigest(),
    }
    with pytest.raises(ConfigurationError, match="none: cannot be read: No such file"):
        digests_of(tmp_path / "none")
