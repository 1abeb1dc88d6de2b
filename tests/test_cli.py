"""The command line as users type it: the whole path once, and every error as one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cli

ROOT = Path(__file__).parent.parent
SMALL = ["--set=image_size=64", "--set=batch_size=16", "--set=log_every=2", "--epochs=1"]


@pytest.fixture
def type_in(monkeypatch, capsys):
    """Type a command in this process; its exit code, stdout and stderr."""

    def typed(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cli.py", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
            sys.exit(0)
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return typed


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder in which faces are drawn, shards made and a model trained, by real processes."""
    place = tmp_path_factory.mktemp("cli")
    python = [sys.executable, str(ROOT / "cli.py")]
    launch = [str(Path(sys.executable).parent / "accelerate"), "launch", str(ROOT / "cli.py")]
    for command in (
        [*python, "cartoon", "affectnet", "--n", "120", "--level", "easy"],
        [*python, "shard", "affectnet", "--size", "72"],
        [*launch, "train", "--recipe", "demo", "--run", "runs/first", *SMALL],
    ):
        done = subprocess.run(command, cwd=place, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return place


def test_the_default_places_are_the_documented_ones(place):
    assert (place / "data/raw/affectnet/data_card.json").is_file()
    assert (place / "data/shards/affectnet/labels.arrow").is_file()
    assert (place / "runs/first/best.safetensors").is_file()
    assert json.loads((place / "runs/first/run.json").read_text())["shards"]["digest"]


def test_eval_prints_one_object(place, type_in, monkeypatch):
    monkeypatch.chdir(place)
    code, out, _ = type_in("eval", "--split", "val", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["n"] > 0
    for axis in ("valence", "arousal"):
        assert set(found[axis]) >= {"rmse", "sagr", "pcc", "ccc"}


def test_inspect_agrees_with_the_shards(place, type_in, monkeypatch):
    monkeypatch.chdir(place)
    code, out, _ = type_in("inspect", "affectnet", "--json", "--verify")
    found = json.loads(out)
    assert code == 0
    assert sum(found["splits"].values()) == found["rows"]
    assert found["shards"] == len(list((place / "data/shards/affectnet").glob("*.tar")))
    code, out, _ = type_in("inspect", "affectnet")
    assert code == 0
    assert found["digest"] in out


def test_the_report_is_one_file(place, type_in, monkeypatch):
    monkeypatch.chdir(place)
    code, _, _ = type_in("report", "runs/first", "--out", "page.html")
    assert code == 0
    assert "http://" not in (place / "page.html").read_text().replace("http://www.w3.org", "")


def test_a_model_predicts_shards_and_leaves_the_house(place, type_in, monkeypatch):
    monkeypatch.chdir(place)
    code, _, err = type_in("predict", "data/shards/affectnet", "--out", "said.csv")
    assert code == 0, err
    assert len((place / "said.csv").read_text().splitlines()) == 1 + 120
    code, _, err = type_in("export", "--out", "model")
    assert code == 0, err
    assert {path.name for path in (place / "model").iterdir()} == {
        "model.safetensors",
        "MODEL_CARD.md",
    }


def test_the_doctor_finds_this_machine_fit(type_in, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, _ = type_in("doctor", "--json")
    assert code == 0
    assert {check["outcome"] for check in json.loads(out)["checks"]} <= {"ok", "note"}


def test_a_finished_run_is_not_overwritten(place, type_in, monkeypatch):
    monkeypatch.chdir(place)
    code, _, err = type_in("train", "--recipe", "demo", "--run", "runs/first", *SMALL)
    assert code == 1
    assert "already holds a run" in err


def test_weights_of_another_architecture_are_refused(place, type_in, monkeypatch, tmp_path):
    monkeypatch.chdir(place)
    run = tmp_path / "other"
    run.mkdir()
    facts = json.loads((place / "runs/first/run.json").read_text())
    facts["config"] |= {"encoder": "resnet18"}
    (run / "run.json").write_text(json.dumps(facts))
    (run / "best.safetensors").write_bytes((place / "runs/first/best.safetensors").read_bytes())
    code, out, err = type_in("eval", "--run", run)
    assert (code, out) == (1, "")
    assert "another architecture" in err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["shard", "affectnet"], 1, "data/raw/affectnet"),
        (["shard", "imagenet"], 2, "there is no data set"),
        (["shard", "affectnet", "--part", "x"], 2, "write I/N"),
        (["shard", "raf-db", "--option", "pts_base=1"], 2, "subset"),
        (["cartoon", "imagenet"], 2, "there is no stand-in"),
        (["cartoon", "affectnet", "--level", "mad"], 2, "easy"),
        (["inspect", "nothing"], 1, "labels.arrow"),
        (["train", "--weights", "none"], 1, "python cli.py shard"),
        (["train", "--recipe", "papre"], 2, "paper"),
        (["train", "--set", "lr"], 2, "name=value"),
        (["train", "--set", "learning=1"], 2, "no field"),
        (["train", "--set", "lr=fast"], 2, "a number"),
        (["eval"], 1, "holds no run"),
        (["eval", "--run", "nowhere"], 1, "not a run"),
        (["table", "9"], 2, "less than or equal to 5"),
        (["import", "released", "no.t7", "none.t7"], 1, "no.t7"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_sentences(words, code, sentence, type_in, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.err, "width", 400, raising=False)
    found, out, err = type_in(*words)
    flat = " ".join(err.replace("│", " ").split())
    assert found == code, err
    assert sentence in flat
    assert "Traceback" not in err
    assert not out
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "report.json"]


def test_every_command_shows_an_example():
    help_of = {c.name or c.callback.__name__: c.epilog for c in cli.app.registered_commands}
    assert all("Example: " in (epilog or "") for epilog in help_of.values()), help_of


def test_other_ranks_are_quiet(type_in, monkeypatch):
    monkeypatch.setitem(os.environ, "RANK", "1")
    _, out, err = type_in("inspect", "nothing")
    assert not out
    assert not err
