"""How results look: at 80 columns, into a pipe, as JSON, and where there is less to show."""

import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from fcntl import ioctl

import pytest

from pipeline.cli import main


@pytest.fixture
def command(capsys):
    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def in_terminal(*arguments, columns):
    """What a command shows on a terminal so wide, colours taken out."""
    leader, follower = pty.openpty()
    ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": "xterm"}
    command = [sys.executable, "-m", "pipeline", *map(str, arguments)]
    with subprocess.Popen(command, stdout=follower, stderr=follower, env=environment) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                piece = os.read(leader, 4096)
            except OSError:  # Linux says so that the other side is closed
                break
            if not piece:
                break
            shown += piece
    os.close(leader)
    assert process.returncode == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n").split("\n")


HEADINGS = [
    "What became of the records",
    "Lengths",
    "Rows of one protein each",
    "Residues",
    "Databases",
    "Organisms",
    "Longest proteins",
    "Duplicates",
]

PLAN_HEADINGS = [
    "Where the tokens go",
    "Rows by algorithm",
    "Tokens in a segment",
    "Segments in a row",
    "Proteins longer than a row",
    "Ranks that wait",
]


def test_a_corpus_is_shown_with_its_report(command, quickstart):
    code, out, err = command("inspect", quickstart / "corpus")
    assert (code, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    assert [line for line in lines if line in HEADINGS] == HEADINGS
    assert any(re.fullmatch(r"300 to 499 +1,332 +30.6 %  █+", line) for line in lines)
    assert "shortest  5 %  25 %  median  75 %  90 %   99 %  longest" in lines
    assert any(line.startswith("L  leucine     10.6") for line in lines)
    assert "\x1b" not in out


def test_nothing_is_wider_than_a_terminal_of_80_columns(quickstart):
    lines = in_terminal("inspect", quickstart / "corpus", columns=80)
    assert [line.rstrip() for line in lines if line.rstrip() in HEADINGS] == HEADINGS
    notes = [line for line in lines if len(line) > 80]
    # Sentences are left to the terminal; tables are not.
    assert all("Swiss-Prot" in line for line in notes)
    bars = [line for line in lines if "█" in line]
    assert len(bars) > 5
    assert max(len(line) for line in bars) <= 80


def test_bars_without_blocks_where_there_are_none(quickstart):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "pipeline", "inspect", str(quickstart / "corpus")]
    shown = subprocess.run(command, env=environment, capture_output=True, check=True).stdout.decode("ascii")
    bars = [line.count("#") for line in shown.splitlines() if "#" in line]
    assert max(bars) == 28
    assert len(bars) > 5


def test_a_corpus_as_json_has_its_report(command, quickstart):
    code, out, err = command("inspect", quickstart / "corpus", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    written = json.loads((quickstart / "corpus" / "report.json").read_text())
    assert document["report"]["summary"] == written["summary"]
    assert document["report"]["statistics"] == written["statistics"]
    assert document["fingerprint"] == written["fingerprint"]
    assert "report" not in json.loads(command("inspect", quickstart / "shards", "--json")[1])


def test_a_plan_is_shown_with_its_report(command, quickstart):
    code, out, err = command("inspect", quickstart / "plan")
    assert (code, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    assert "First-fit decreasing takes as few rows as any packing can: no other algorithm would help." in lines
    assert [line for line in lines if line in PLAN_HEADINGS] == PLAN_HEADINGS
    assert any(re.fullmatch(r"concatenation +1,319 +- +\+0.61 % +99.93 %", line) for line in lines)
    written = json.loads((quickstart / "plan" / "report.json").read_text())
    document = json.loads(command("inspect", quickstart / "plan", "--json")[1])
    assert document["report"] == {name: written[name] for name in ("summary", "statistics")}
    assert document["fingerprint"] == written["fingerprint"]


def test_a_plan_without_a_report(command, quickstart, tmp_path):
    shutil.copytree(quickstart / "plan", tmp_path / "old")
    (tmp_path / "old" / "report.json").unlink()
    code, out, err = command("inspect", tmp_path / "old")
    assert (code, "Rows by algorithm" in out) == (0, False)
    assert "there is no report.json" in err
    assert json.loads(command("inspect", tmp_path / "old", "--json")[1])["report"] is None


@pytest.fixture
def old(quickstart, tmp_path):
    """A corpus from before there were reports."""
    shutil.copytree(quickstart / "corpus", tmp_path / "old")
    (tmp_path / "old" / "report.json").unlink()
    return tmp_path / "old"


def test_a_corpus_without_a_report(command, old):
    code, out, err = command("inspect", old)
    assert code == 0
    assert "records read" in out
    assert "Lengths" not in out
    assert "there is no report.json" in err
    code, out, err = command("inspect", old, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["report"] is None


def test_a_report_that_is_none(command, old):
    (old / "report.json").write_text("{}")
    code, _, err = command("inspect", old)
    assert code == 1
    assert "report.json: expected the report of a corpus" in " ".join(err.split())


def test_settings_that_say_nothing_are_not_shown(command, tmp_path):
    (tmp_path / "x.fasta").write_text(">a\nMKVLA\n>b\nMK\n")
    command("ingest", tmp_path / "x.fasta", "--out", tmp_path / "c", "--min-length", 3, "--executor", "serial")
    _, out, _ = command("inspect", tmp_path / "c")
    facts = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in out.splitlines()[1:] if "  " in line.strip())
    assert facts["filters"] == "min length 3"
    assert not {"file format", "accession column", "replace", "excluded"} & facts.keys()


class TestWhereabouts:
    @pytest.fixture
    def corpora(self, command, tmp_path):
        (tmp_path / "x.fasta").write_text(">sp|P1|A_B one\nMKVLA\n>UniRef50_P2 two\nMKVLW\n>short\nMK\n>gap\nMK-VL\n")
        for name, options in (("plain", []), ("kept", ["--keep-dropped"])):
            command("ingest", tmp_path / "x.fasta", "--out", tmp_path / name, "--min-length", 3, *options)
            command("pack", tmp_path / name, "--out", tmp_path / f"{name}-plan", "--length", 16)
            command("shard", tmp_path / f"{name}-plan", "--out", tmp_path / f"{name}-shards")
        return tmp_path

    @pytest.mark.parametrize("kind", ["", "-plan", "-shards"])
    def test_a_dropped_protein_with_its_reason(self, command, corpora, kind):
        code, out, _ = command("inspect", f"{corpora / 'kept'}{kind}", "--accession", "short")
        assert code == 0
        assert "dropped: too-short" in out

    @pytest.mark.parametrize("kind", ["", "-plan", "-shards"])
    def test_a_dropped_protein_that_is_not_written_down(self, command, corpora, kind):
        folder = f"{corpora / 'plain'}{kind}"
        code, out, err = command("inspect", folder, "--accession", "short")
        assert (code, out) == (1, "")
        told = " ".join(err.split())
        assert f"{folder}: short is not in it" in told
        assert "2 records of the input were dropped in all:" in told
        assert "1 too short" in told
        assert "1 a gap in the sequence" in told
        assert "--keep-dropped" in told

    def test_as_json(self, command, corpora):
        code, out, err = command("inspect", corpora / "plain", "--accession", "P2", "--json")
        document = json.loads(out)
        assert (code, err) == (1, "")
        assert document["found"] == []
        assert document["explanation"][1] == "did you mean UniRef50_P2?"
        code, out, _ = command("inspect", corpora / "plain", "--accession", "UniRef50_P2", "--json")
        document = json.loads(out)
        assert code == 0
        assert document["explanation"] == []
        assert document["found"][0]["story"].startswith("kept")

    def test_a_download_has_no_proteins_to_find(self, command, corpora, tmp_path):
        command("download", corpora / "x.fasta", "--out", tmp_path / "downloads")
        code, _, err = command("inspect", tmp_path / "downloads" / "x", "--accession", "P1")
        assert code == 2
        assert "found a download" in " ".join(err.split())
        assert "pipeline ingest" in err

    def test_a_name_cannot_speak_to_the_terminal(self, command, tmp_path):
        (tmp_path / "x.fasta").write_text(">\x1b[31mred\nMKV\n>b\nMKV\n")
        command("ingest", tmp_path / "x.fasta", "--out", tmp_path / "c")
        code, out, _ = command("inspect", tmp_path / "c", "--accession", "b")
        assert code == 0
        assert "merged into �[31mred" in out
