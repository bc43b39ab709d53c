"""``inspect --schedule``: numbers for people and programs, and a picture."""

import json
import sys

import pytest

from pipeline.cli import main


@pytest.fixture
def inspect(capsys):
    def run(*arguments):
        code = main(["inspect", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_person_sees_numbers_density_and_curve(inspect):
    code, out, _ = inspect("--schedule", "cosine")
    assert code == 0
    assert "mean mask rate          0.6366" in out
    assert "50 % of segments up to  0.7071" in out
    assert "0.95 to 1.00  4.043" in out
    assert "0.5   0.7071" in out


def test_a_mixture_has_a_density_and_no_curve(inspect):
    code, out, _ = inspect("--schedule", "0.8*beta(3,9)+0.2*uniform")
    assert code == 0
    assert "mean mask rate          0.3000" in out
    assert "masked" not in out


def test_a_program_gets_one_object(inspect):
    code, out, err = inspect("--schedule", "betalinear30", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["mean"] == pytest.approx(0.3, abs=1e-4)
    assert document["quantiles"]["0.5"] == pytest.approx(0.2553, abs=1e-3)
    assert len(document["density"]) == 20
    assert document["curve"] is None


@pytest.mark.parametrize(
    ("schedule", "name", "begins"),
    [
        ("square", "a.png", b"\x89PNG\r\n"),
        ("0.15", "a.PNG", b"\x89PNG\r\n"),
        ("square", "a.svg", b"<?xml"),
        ("square", "a.pdf", b"%PDF"),
    ],
)
def test_a_picture_is_drawn(inspect, tmp_path, schedule, name, begins):
    code, _, err = inspect("--schedule", schedule, "--plot", tmp_path / name)
    assert code == 0
    assert f"{name}: {schedule}" in err
    assert (tmp_path / name).read_bytes().startswith(begins)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "expected the path of an artefact or --schedule, found neither"),
        (["shards", "--schedule", "cosine"], "found both"),
        (["shards", "--plot", "a.png"], "--plot: expected --schedule beside it"),
        (["--schedule", "cosinus"], "'cosinus' is not known"),
        (["--schedule", "cosine", "--plot", "a.jpeg"], "expected a name that ends in .png"),
    ],
)
def test_mistakes_are_told_in_a_sentence(inspect, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    code, out, err = inspect(*arguments)
    assert (code, out) == (2, "")
    assert sentence in err.replace("\n", " ")
    assert "Traceback" not in err


def test_without_matplotlib_the_extra_is_named(inspect, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = inspect("--schedule", "cosine", "--plot", tmp_path / "a.png")
    assert code == 2
    assert "pip install 'protein-pipeline[plot]'" in err
