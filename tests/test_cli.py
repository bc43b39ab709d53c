"""The command line as people use it: exit codes, stdout for data, stderr for people, one sentence for a mistake."""

import json
import os
import shutil
import subprocess
import sys

import pytest

import pipeline
from pipeline.cli import main
from pipeline.stages.inspection import packed_row

FASTA = ">sp|P1|A_B one\nMKV\n>b two\nMK\n>c\nM-\n>d\nmkv*\n"


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / "x.fasta"
    path.write_text(FASTA)
    return path


@pytest.fixture
def command(capsys):
    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def in_empty_folder(tmp_path, monkeypatch):
    (tmp_path / "x.fasta").write_text(FASTA)
    monkeypatch.chdir(tmp_path)


def test_step_by_step_from_fasta_to_shards(command, fasta, tmp_path):
    corpus, plan, shards = tmp_path / "corpus", tmp_path / "plan", tmp_path / "shards"
    code, out, err = command("ingest", fasta, "--out", corpus)
    assert (code, out) == (0, "")
    assert "4 proteins in, 2 kept, 1 merged as duplicates, dropped 1 (1 invalid-gap)" in err
    assert err.rstrip().splitlines()[-1].endswith(f"next: pipeline pack {corpus} --out plan/")
    code, _, err = command("pack", corpus, "--out", plan, "--length", 16)
    assert code == 0
    assert "2 segments in 1 row" in err
    code, _, err = command("shard", plan, "--out", shards)
    assert code == 0
    assert "1 row in 1 shard" in err
    for folder in (corpus, plan, shards):
        code, _, err = command("verify", folder)
        assert code == 0
        assert ": sound" in err
    code, out, _ = command("inspect", shards, "--row", 0)
    assert code == 0
    assert "P1 3 aa" in out
    code, out, _ = command("inspect", corpus, "--accession", "d")
    assert code == 0
    assert "merged into P1" in out


def test_json_is_one_object_and_nothing_else(command, fasta, tmp_path):
    code, out, err = command("ingest", fasta, "--out", tmp_path / "c", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["counts"]["records_read"] == 4
    assert document["was_finished"] is False
    code, out, _ = command("ingest", fasta, "--out", tmp_path / "c", "--json")
    assert json.loads(out)["was_finished"] is True


def test_every_command_speaks_json(command, quickstart, root):
    for arguments in (
        ["verify", quickstart / "plan"],
        ["inspect", quickstart / "shards"],
        ["inspect", quickstart / "shards", "--row", "3"],
        ["inspect", quickstart / "corpus", "--accession", "P0A6F5"],
        ["run", root / "workflows" / "quickstart.toml", "--out", quickstart],
    ):
        code, out, err = command(*arguments, "--json")
        assert (code, err) == (0, ""), arguments
        assert isinstance(json.loads(out), dict)


def test_quiet_says_nothing(command, fasta, tmp_path):
    assert command("ingest", fasta, "--out", tmp_path / "c", "--quiet") == (0, "", "")


def test_a_run_tells_what_a_person_wants_to_know(command, root, quickstart):
    code, out, err = command("run", root / "workflows" / "quickstart.toml", "--out", quickstart)
    assert (code, out) == (0, "")
    for text in ("4,391", "4,349", "42 merged", "dropped", "lower bound", "with padding", "million tokens/s",
                 str(quickstart / "shards"), "from pipeline.streaming.dataset import PackedDataset"):  # fmt: skip
        assert text in err
    assert "next: pipeline inspect" in err.rstrip().splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (["ingest", "absent.fasta"], 2, "absent.fasta: expected a file, found nothing"),
        (["ingest"], 2, "no input"),
        (["ingest", "--source", "x.fasta"], 2, "expected NAME=FILE"),
        (["pack", "absent"], 1, "absent: expected a folder that holds a corpus"),
        (["pack", "."], 1, "found no manifest.json"),
        (["shard", "absent"], 1, "expected a folder that holds a plan"),
        (["verify", "absent"], 1, "expected a folder that holds an artefact"),
        (["inspect", "absent"], 1, "expected a folder"),
        (["run", "absent.toml"], 2, "absent.toml: cannot be read"),
        (["pack", "c", "--length", "many"], 2, "valid integer"),
        (["pack", "c", "--length", "3"], 2, "length"),
        (["pack", "c", "--overlong", "cut"], 2, "cut"),
        (["pack", "c", "--tokenizer", "esm9"], 2, "esm9"),
        (["verify", "c", "--executor", "magic"], 2, "expected one of serial, processes"),
        (["verify", "c", "--workers", "0"], 2, "expected at least 1"),
        (["ingest", "x.fasta", "--out", "x.fasta/out"], 2, "x.fasta"),
        (["nonsense"], 2, "nonsense"),
        (["ingest", "x.fasta", "--json", "--quiet"], 2, "exclude each other"),
    ],
)
@pytest.mark.usefixtures("in_empty_folder")
def test_an_ordinary_mistake_is_one_sentence_without_traceback(command, arguments, exit_code, told):
    code, _, err = command(*arguments)
    assert code == exit_code
    assert told in " ".join(err.split())
    assert "Traceback" not in err


def test_another_configuration_is_refused_and_overwritten_when_asked(command, fasta, tmp_path):
    corpus = tmp_path / "c"
    command("ingest", fasta, "--out", corpus)
    code, _, err = command("ingest", fasta, "--out", corpus, "--on-invalid", "replace")
    assert code == 2
    assert "on_invalid is 'drop' there, 'replace' was asked for" in " ".join(err.split())
    assert "--overwrite" in err
    assert command("ingest", fasta, "--out", corpus, "--on-invalid", "replace", "--overwrite")[0] == 0


def test_a_broken_artefact_is_exit_1_with_the_place(command, quickstart, tmp_path):
    copy = tmp_path / "shards"
    shutil.copytree(quickstart / "shards", copy)
    shard = next((copy / "data").iterdir())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    code, out, err = command("verify", copy, "--corpus", quickstart / "corpus")
    assert (code, out) == (1, "")
    assert shard.name in err
    assert "NOT sound" in err
    code, out, _ = command("verify", copy, "--corpus", quickstart / "corpus", "--json")
    assert code == 1
    assert json.loads(out)["is_sound"] is False


def test_a_row_is_coloured_by_segment(quickstart):
    """Six colours in turns: neighbouring segments differ, and a label has the colour of its segment."""
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"}
    environment.pop("NO_COLOR")
    command = [sys.executable, "-m", "pipeline", "inspect", str(quickstart / "shards"), "--row", "4"]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    row = packed_row(quickstart / "shards", 4)
    assert len(row.segments) > 2
    for colour, segment in zip(("36", "33", "32"), row.segments, strict=False):
        head = row.symbols[segment.first_token : segment.first_token + 8]
        assert f"\x1b[{colour}m{head}" in shown
        assert f"\x1b[{colour}m{segment.accession} {segment.num_residues} aa" in shown


def test_an_absent_accession_is_exit_1(command, quickstart):
    code, _, err = command("inspect", quickstart / "corpus", "--accession", "nobody")
    assert code == 1
    assert "nobody is not in it" in err


def test_a_bug_is_told_as_one(command, monkeypatch, tmp_path):
    from pipeline.stages import inspection

    def broken(_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(inspection, "summarise", broken)
    code, _, err = command("inspect", tmp_path)
    assert code == 2
    assert "internal error: ZeroDivisionError: a bug" in err
    assert "Traceback" not in err
    monkeypatch.setenv("PIPELINE_DEBUG", "1")
    assert "Traceback" in command("inspect", tmp_path)[2]


def test_an_interrupt_is_exit_130(command, monkeypatch, tmp_path):
    from pipeline.stages import inspection

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspection, "summarise", interrupted)
    code, _, err = command("inspect", tmp_path)
    assert code == 130
    assert "run the same command again" in err


def test_a_closed_stdout_is_quiet(quickstart):
    code = f"{sys.executable} -m pipeline inspect {quickstart / 'shards'} --row 0 | head -c 1"
    result = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr


def test_version(command):
    assert command("--version")[:2] == (0, f"{pipeline.__version__}\n")
    result = subprocess.run([sys.executable, "-m", "pipeline", "--version"], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == pipeline.__version__
