"""Files come to be whole or not at all."""

import json
import os
import signal
import subprocess
import sys

import pytest
import xxhash

from pipeline.errors import ArtefactError, ConfigurationError
from pipeline.formats.storage import atomic_path, file_digest, read_json, remove_temporaries, write_json


def test_a_file_appears_whole(tmp_path):
    with atomic_path(tmp_path / "a" / "data.bin") as temporary:
        temporary.write_bytes(b"half")
        assert not (tmp_path / "a" / "data.bin").exists()
    assert (tmp_path / "a" / "data.bin").read_bytes() == b"half"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["data.bin"]


def test_an_error_leaves_nothing_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(b"old")
    with pytest.raises(LookupError, match="boom"), atomic_path(path) as temporary:
        write_then_fail(temporary)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["data.bin"]


def write_then_fail(path):
    path.write_bytes(b"new")
    raise LookupError("boom")


def test_two_attempts_share_no_temporary_name(tmp_path):
    with atomic_path(tmp_path / "x") as first, atomic_path(tmp_path / "x") as second:
        assert first != second
        first.write_bytes(b"1")
        second.write_bytes(b"2")


def test_a_kill_leaves_only_a_temporary(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from pipeline.formats.storage import atomic_path\n"
        f"with atomic_path(Path({str(tmp_path / 'x')!r})) as t:\n"
        "    t.write_bytes(b'half'); print('ready', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "x").exists()
    assert len(list(tmp_path.iterdir())) == 1
    remove_temporaries(tmp_path)
    assert not list(tmp_path.iterdir())


def test_remove_temporaries_touches_nothing_else(tmp_path):
    for name in ("notes.tmp", ".hidden", "data.parquet"):
        (tmp_path / name).write_text("mine")
    remove_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.tmp", ".hidden", "data.parquet"}


def test_a_file_in_place_of_a_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"file/x\.json: cannot be written") as caught:
        write_json(tmp_path / "file" / "x.json", {})
    assert "--out" in (caught.value.hint or "")


@pytest.mark.parametrize("bits", [64, 128])
def test_file_digest_is_that_of_the_bytes(tmp_path, bits):
    data = bytes(range(256)) * 40_000  # more than one block
    (tmp_path / "x").write_bytes(data)
    expected = xxhash.xxh3_64_hexdigest(data) if bits == 64 else xxhash.xxh3_128_hexdigest(data)
    assert file_digest(tmp_path / "x", bits=bits) == (len(data), expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b'{"a": ', "expected JSON, found .* line 1"), (b"\xff\xfe", "expected UTF-8 text, found byte 0xff at byte 0")],
)
def test_read_json_says_what_is_wrong(tmp_path, content, expected):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ArtefactError, match=expected):
        read_json(tmp_path / "x.json")


def test_json_round_trip(tmp_path):
    document = {"name": "Å", "numbers": [1, 2.5, None]}
    write_json(tmp_path / "x.json", document)
    assert read_json(tmp_path / "x.json") == document == json.loads((tmp_path / "x.json").read_text("utf-8"))


def test_write_is_flushed_before_the_rename(tmp_path, monkeypatch):
    order = []
    real_fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), real_fsync(fd))[1])
    write_json(tmp_path / "x.json", {})
    assert order == ["fsync", "fsync"]  # the file, then its folder
