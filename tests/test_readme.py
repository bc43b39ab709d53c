"""The README tells the truth: its Python runs, its options exist, its demo output is what the demo prints."""

import re

import pytest

from pipeline.cli import main
from pipeline.core.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def text(root):
    return (root / "README.md").read_text()


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_nothing_is_left_to_fill_in(text):
    assert not re.search(r"@@|TODO|FIXME", text)


def test_the_python_runs(text, quickstart, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "quickstart").symlink_to(quickstart)
    monkeypatch.chdir(tmp_path)
    code = blocks(text, "python")
    assert code
    for block in code:
        names = {}
        exec(compile(block, "README.md", "exec"), names)
        assert names["ids"].shape == names["labels"].shape == (8, 1024)
        assert names["same"].shape == (8, 1, 1024, 1024)


def test_the_commands_and_options_exist(text, capsys):
    for line in "".join(blocks(text, "bash")).splitlines():
        command, *options = re.findall(r"^pipeline (\w+)|(--[\w-]+)", line)
        assert main([command[0], "--help"]) == 0
        told = capsys.readouterr().out
        for _, option in options:
            assert option in told, line


def test_the_demo_prints_what_the_readme_shows(text, root, quickstart, capsys):
    assert main(["run", str(root / "workflows" / "quickstart.toml"), "--out", str(quickstart)]) == 0
    printed = {" ".join(line.split()) for line in capsys.readouterr().err.splitlines()}
    shown = blocks(text, "text")[0].splitlines()
    assert len(shown) >= 6
    for line in shown:
        assert " ".join(line.split()) in printed


def test_the_row_it_shows_is_the_row(text, quickstart, capsys):
    assert main(["inspect", str(quickstart / "shards"), "--row", "4"]) == 0
    printed = {line.rstrip() for line in capsys.readouterr().out.splitlines()}
    for line in blocks(text, "text")[1].splitlines():
        assert "⋮" in line or line.rstrip() in printed


def test_the_tokenizers_it_names_exist(text):
    listed = re.search(r"^Tokenizers: (.*?), or `--tokenizer", text, flags=re.DOTALL | re.MULTILINE)
    assert listed is not None
    names = re.findall(r"[a-z][a-z0-9-]+", listed.group(1))
    assert len(names) == 13
    for name in names:
        load_tokenizer(name)
