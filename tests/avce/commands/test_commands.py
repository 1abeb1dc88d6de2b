"""The command line as users type it: the whole path once, and every error as one sentence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import matplotlib
import numpy as np
import pytest

import cli
from avce.commands import app, terminal
from avce.inference.video import Film
from avce.scores.predictions import read_predictions
from avce.training.checkpoint import as_safetensors, read_safetensors
from shards import finder
from shards.image import encode_jpeg

ROOT = Path(__file__).parents[3]
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


def test_eval_shows_printed_rows_when_asked(place, type_in, monkeypatch):
    monkeypatch.chdir(place)
    code, alone, _ = type_in("eval", "runs/first")
    lines = [line for line in alone.splitlines() if not line.startswith("note:")]
    assert code == 0 and "AVCE" not in alone and max(map(len, lines)) <= 80
    code, beside, _ = type_in("eval", "runs/first", "--published")
    lines = [line for line in beside.splitlines() if not line.startswith("note:")]
    assert code == 0 and beside.count("\u00d7 printed") >= 8 and max(map(len, lines)) <= 80


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


def test_a_model_predicts_shards_and_leaves_the_house(place, type_in, monkeypatch, tmp_path):
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
    assert "95 % bootstrap intervals" in (place / "model/MODEL_CARD.md").read_text()
    code, _, err = type_in("export", "--which", "last", "--out", "runs/first")
    assert code == 1 and "name another place" in err
    assert not (place / "runs/first/model.safetensors").exists()
    copy = tmp_path / "copy"
    shutil.copytree("runs/first", copy)
    code, _, err = type_in("export", "--out", copy)
    assert code == 1 and f"{copy} is a run" in " ".join(err.split())
    shutil.copy("model/model.safetensors", copy)
    code, _, err = type_in("predict", "data/shards/affectnet", "--run", copy, "--out", "x.csv")
    assert code == 0 and "weights best of step" in " ".join(err.split()), err


def test_a_run_goes_on_without_the_file_it_started_from(place, type_in, monkeypatch):
    monkeypatch.chdir(place)
    shutil.copy("runs/first/best.safetensors", "start.safetensors")
    words = ["--recipe", "demo", "--run", "runs/third", *SMALL, "--weights", "start.safetensors"]
    code, _, err = type_in("train", *words)
    assert code == 0, err
    Path("start.safetensors").unlink()
    code, _, err = type_in("train", "--resume", "runs/third", "--epochs", "2")
    assert code == 0, err


@pytest.mark.parametrize("setting", ["lr=abc", "nonsense", "seed=7"])
def test_a_sweep_of_what_cannot_be_trained_is_wrong_usage(setting, type_in, monkeypatch, tmp_path):
    """With one seed for all, the folders seed0 and seed1 would hold the same run."""
    monkeypatch.chdir(tmp_path)
    code, _, err = type_in("sweep", "--table", "3", "--seeds", "2", "--dry-run", "--set", setting)
    assert code == 2 and setting.split("=")[0] in err, err


def test_eval_scores_a_selection_and_its_groups(place, type_in, monkeypatch):
    monkeypatch.chdir(place)
    where = ("--where", "valence > 0 or arousal > 0", "--by", "expression")
    code, out, err = type_in("eval", "runs/first", *where, "--json")
    found = json.loads(out)
    assert code == 0, err
    assert sum(group["n"] for group in found["groups"]["expression"]) == found["n"]
    assert any("part of the split" in note for note in found["notes"])
    code, out, _ = type_in("eval", "runs/first", *where, "--format", "csv")
    assert code == 0
    assert "expression 0" in out and out.splitlines()[0].startswith("run,n,published")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--by video", "video_id has nulls in"),
        ("--by zzz", "zzz does not exist"),
        ("--clusters zzz", "zzz does not exist"),
        ("--split zzz", "train, val"),
        ("--fold 3", "there is no fold 3; choose another way: there is none at all"),
        ("--where nonsense", "nonsense"),
        ("--where valence>'a'", "valence"),
    ],
)
def test_words_that_a_run_does_not_know_are_wrong_usage(
    words, sentence, place, type_in, monkeypatch
):
    """Said before anything is scored, and of the word that was typed."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(terminal.err, "width", 400, raising=False)
    code, out, err = type_in("eval", "runs/first", *words.split())
    assert (code, out) == (2, ""), err
    assert sentence in err and "{" not in err
    assert "clusters=" not in err


def test_eval_puts_runs_side_by_side_and_saves_what_they_said(place, type_in, monkeypatch):
    monkeypatch.chdir(place)
    if not (place / "runs/second").exists():
        shutil.copytree("runs/first", "runs/second")
    code, out, err = type_in("eval", "runs/first", "runs/second", "--save", "both.arrow")
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines() if "runs/" in line][:2] == [
        "runs/first",
        "runs/second",
    ]
    assert set(read_predictions("both.arrow")["part"].to_pylist()) == {"runs/first", "runs/second"}
    code, _, err = type_in("eval", "runs/first", "runs/second", "--merge")
    assert code == 1
    assert "more than one fold" in err


def test_figures_are_pictures_and_numbers(place, type_in, monkeypatch):
    monkeypatch.chdir(place)
    kinds = [f"--only={kind}" for kind in ("training", "plane", "maps", "tsne")]
    code, out, err = type_in("figures", "runs/first", *kinds, "--json")
    assert code == 0, err
    found = json.loads(out)["figures"]
    assert set(found) == {
        "training", "plane-first", "calibration", "activation-maps", "tsne-first",
    }  # fmt: skip
    assert all(Path(file).stat().st_size for each in found.values() for file in each["files"])
    assert "deletion_won" in found["activation-maps"]["numbers"]["first (R)"]
    code, _, err = type_in("figures", "runs/first", "--only=video")
    assert code == 1 and "nothing can be drawn of video: maps and" in " ".join(err.split())
    code, _, err = type_in("figures", "runs/first", "--only=video", "--video", "001")
    assert code == 1
    assert "holds no video" in err


def test_a_video_file_is_drawn_without_shards(place, type_in, monkeypatch):
    monkeypatch.chdir(place)
    film = Film(Path("film.mp4"), Fraction(10))
    for number in range(8):
        film.add(np.full((72, 72, 3), 30 * number, np.uint8))
    film.close()
    drawn = ("figures", "runs/first", "--only=video", "--video=film.mp4", "--faces=whole")
    code, out, err = type_in(*drawn, "--frames=2,5", "--out=drawn", "--json")
    assert code == 0, err
    assert set(json.loads(out)["figures"]) == {"video-film"}
    assert Path("drawn/video-film.svg").is_file()


def test_constant_predictions_have_no_ccc_and_it_is_said(place, type_in, monkeypatch):
    monkeypatch.chdir(place)
    shutil.copytree("runs/first", "runs/constant", dirs_exist_ok=True)
    weights = read_safetensors(Path("runs/constant/best.safetensors"))
    weights["model.regressor.fc2.weight"].zero_()
    Path("runs/constant/best.safetensors").write_bytes(as_safetensors(weights))
    code, out, err = type_in("eval", "runs/constant")
    assert code == 0, err
    assert "CCC and PCC of valence are undefined" in out
    code, out, _ = type_in("eval", "runs/constant", "--json")
    assert json.loads(out)["valence"]["ccc"] is None
    os.utime("runs/first/run.json")  # the latest run again


def test_shards_of_another_data_set_are_refused(place, type_in, monkeypatch):
    monkeypatch.chdir(place)
    for line in (["cartoon", "--n", "24"], ["shard", "--size", "48", "--allow-count"]):
        code, _, err = type_in(line[0], "raf-db", *line[1:])
        assert code == 0, err
    code, _, err = type_in("eval", "runs/first", "--shards", "data/shards/raf-db")
    assert code == 1
    assert "no row meets" in " ".join(err.split())


@pytest.mark.parametrize(
    ("source", "code", "sentence"),
    [
        ("empty", 1, "holds no image or video"),
        ("text.jpg", 1, "not an image: 1, such as text.jpg"),
        ("mixed", 0, "not an image: 1, such as mixed/text.jpg"),
        ("torn", 0, "cut off or damaged"),
        ("nowhere.png", 1, "nowhere.png does not exist"),
    ],
)
def test_bad_pictures_cost_a_sentence(source, code, sentence, place, type_in, monkeypatch):
    monkeypatch.chdir(place)
    for folder in ("empty", "mixed", "torn"):
        Path(folder).mkdir(exist_ok=True)
    for name in ("text.jpg", "mixed/text.jpg"):
        Path(name).write_text("I am no picture")
    picture = encode_jpeg(np.random.default_rng(0).integers(0, 256, (72, 72, 3), np.uint8))
    Path("mixed/face.jpg").write_bytes(picture)
    Path("torn/face.jpg").write_bytes(picture[: len(picture) // 2])
    Path("torn/whole.jpg").write_bytes(picture)
    wanted = ("predict", source, "--faces=whole", "--run=runs/first", "--out=said.csv")
    found, _, err = type_in(*wanted)
    assert found == code, err
    assert sentence in " ".join(err.split())
    if not code:
        assert len(Path("said.csv").read_text().splitlines()) == 2


def test_a_prediction_takes_the_place_of_no_source_and_lists_what_it_left_out(
    place, type_in, monkeypatch
):
    monkeypatch.chdir(place)
    picture = encode_jpeg(np.random.default_rng(0).integers(0, 256, (72, 72, 3), np.uint8))
    Path("photos").mkdir()
    for name in ("one.jpg", "two.csv"):  # content decides
        Path("photos", name).write_bytes(picture)
    Path("photos/notes.txt").write_text("words")
    Path("link.csv").symlink_to("photos/one.jpg")
    os.link("photos/one.jpg", "hard.arrow")
    film = Film(Path("film.mp4"), Fraction(5))
    film.add(np.zeros((64, 64, 3), np.uint8))
    film.close()
    before = Path("film.mp4").read_bytes()
    ask = ("predict", "--faces=whole", "--run=runs/first")
    for source, target, rule in (
        ("film.mp4", "film.mp4", "is read here"),
        ("photos", "photos/two.csv", "is read here"),
        ("photos/*.jpg", "link.csv", "is read here"),
        ("photos", "hard.arrow", "is read here"),
        ("photos", "data/shards/affectnet/seen.csv", "among the shards"),
        ("photos", "photos", "is a folder"),
    ):
        code, _, err = type_in(*ask, source, "--out", target)
        assert code == 1 and rule in " ".join(err.split()), err
    code, _, err = type_in(*ask, "photos", "--save-crops", "photos")
    assert code == 1 and "photos holds what is read here" in " ".join(err.split()), err
    assert Path("film.mp4").read_bytes() == before
    assert Path("photos/one.jpg").read_bytes() == Path("photos/two.csv").read_bytes() == picture
    code, _, err = type_in(*ask, "photos", "--out", "photos.CSV", "--skipped", "left.csv")
    assert code == 0, err
    assert len(Path("photos.CSV").read_text().splitlines()) == 3
    assert Path("left.csv").read_text().splitlines()[1:] == [
        "neither a picture nor a film,photos/notes.txt"
    ]
    said = json.loads(Path("photos.CSV.json").read_text())
    assert said["run"] == "runs/first" and said["weights"] == "best" and len(said["sha256"]) == 64
    assert f"runs/first, weights best of step {said['step']}" in " ".join(err.split())


@pytest.mark.parametrize(
    ("by", "sentence"),
    [("mood", "no column 'mood'"), ("arousal", "holds float"), ("fold", "none of")],
)
def test_what_cannot_be_balanced_is_wrong_usage_before_anything_is_written(
    by, sentence, place, type_in, monkeypatch, tmp_path
):
    monkeypatch.chdir(place)
    words = ("train", "--recipe", "demo", "--run", tmp_path / "run", "--set", f"balance={by}")
    code, out, err = type_in(*words)
    assert (code, out) == (2, "") and sentence in " ".join(err.replace("│", " ").split())
    assert not (tmp_path / "run").exists()


def test_a_run_that_saw_other_boxes_is_named(place, type_in, monkeypatch):
    monkeypatch.chdir(place)
    photo = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
    code, _, err = type_in("predict", photo, "--run", "runs/first", "--out", "hopper.csv")
    assert code == 0 and len(Path("hopper.csv").read_text().splitlines()) == 2, err
    detector = " ".join(finder.facts().values())
    assert f"learned from faces as published, these are found by {detector}" in " ".join(
        err.split()
    )


def test_a_run_without_a_checkpoint_is_one_sentence(place, type_in, monkeypatch, tmp_path):
    monkeypatch.chdir(place)
    shutil.copy("runs/first/run.json", tmp_path)
    for command in ("eval", "figures", "report"):
        code, out, err = type_in(command, tmp_path)
        assert (code, out) == (1, "")
        assert "best.safetensors" in "".join(err.split())


def test_the_doctor_works_without_dali(type_in, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pipelines.health", None)
    code, out, _ = type_in("doctor", "--json")
    found = {check["what"]: check for check in json.loads(out)["checks"]}
    assert code == 1
    assert found["pipelines"]["outcome"] == "fail"
    assert "just setup" in found["pipelines"]["what to do"]
    assert "torch" in found


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
    facts["version"] = 2  # of before it was sealed
    del facts["sha256"]
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
        (["cartoon", "affectnet", "--odd", "zzz"], 2, "zzz"),
        (["cartoon", "afew-va", "--odd", "zzz"], 2, "zzz"),
        (["cartoon", "affectnet", "--n", "3"], 2, "leaves no validation"),
        (["shard", "affectnet-2021"], 2, "shard affectnet --raw data/raw/affectnet-2021"),
        (["inspect", "nothing"], 1, "labels.arrow"),
        (["train", "--weights", "none"], 1, "python cli.py shard"),
        (["train", "--recipe", "papre"], 2, "paper"),
        (["train", "--set", "lr"], 2, "name=value"),
        (["train", "--set", "learning=1"], 2, "no field"),
        (["train", "--set", "lr=fast"], 2, "a number"),
        (["train", "--set", "encoder=zzz"], 2, "alexnet"),
        (["train", "--set", "encoder=timm/zzz"], 2, "timm has no model 'zzz'"),
        (
            ["train", "--set", "encoder=timm/vit_tiny_patch16_224", "--set", "image_size=64"],
            2,
            "set image_size=224",
        ),
        (["train", "--set", "batch_size=1"], 2, "batch_size=2"),
        (["train", "--batch-size", "1"], 2, "batch_size=2"),
        (["train", "--set", "log_with=zzz"], 2, "tensorboard"),
        (["train", "--weights", "zzz"], 2, "give imagenet, none, starter, or the path"),
        (["train", "--set", "balance=plane"], 2, "plane:N"),
        (["eval"], 1, "holds no run"),
        (["eval", "--run", "nowhere"], 1, "not a run"),
        (["eval", "--where", "mood > 1"], 1, "holds no run"),
        (["figures", "--only", "faces"], 2, "training, plane, maps, tsne, video"),
        (["figures", "--frames", "x"], 2, "313,1350"),
        (["figures", "nowhere"], 1, "not a run"),
        (["report", "nowhere"], 1, "not a run"),
        (["table", "9"], 2, "less than or equal to 5"),
        (["sweep", "--table", "3"], 1, "starts from the ImageNet weights of alexnet"),
        (["table", "3", "--root", "nope"], 1, "nope does not exist"),
        (["import", "released", "no.t7", "none.t7"], 1, "no.t7 does not exist"),
        (["import", "released", __file__, __file__], 1, "give a file that holds a state_dict"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_sentences(words, code, sentence, type_in, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(terminal.err, "width", 400, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # no downloaded weights
    found, out, err = type_in(*words)
    flat = " ".join(err.replace("│", " ").split())
    assert found == code, err
    assert sentence in flat
    assert "Traceback" not in err
    assert not out
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "report.json"]


def test_every_command_shows_an_example():
    commands = [
        c for group in app.registered_groups for c in group.typer_instance.registered_commands
    ]
    help_of = {c.name or c.callback.__name__: c.epilog for c in commands}
    assert all("Example: " in (epilog or "") for epilog in help_of.values()), help_of


def test_a_sweep_is_not_launched_on_many_ranks(type_in, monkeypatch):
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    code, _, err = type_in("sweep", "--table", "2")
    assert code == 2 and "start it by python" in " ".join(err.replace("│", " ").split())


def test_other_ranks_are_quiet(type_in, monkeypatch):
    monkeypatch.setitem(os.environ, "RANK", "1")
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    _, out, err = type_in("inspect", "nothing")
    assert not out
    assert not err


def test_a_rank_without_others_is_no_rank_and_speaks(type_in, monkeypatch):
    monkeypatch.setitem(os.environ, "RANK", "1")
    code, _, err = type_in("inspect", "nothing")
    assert code == 1 and "labels.arrow" in err


def in_a_process(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "cli.py"), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def expressions(tmp_path_factory) -> Path:
    """A folder with shards of RAF-DB, which has a test set and no validation set."""
    folder = tmp_path_factory.mktemp("expressions")
    for words in (["cartoon", "raf-db", "--n", "48", "--level", "easy"], ["shard", "raf-db"]):
        done = in_a_process(folder, *words)
        assert done.returncode == 0, done.stderr
    return folder


def test_a_sweep_fills_its_table_and_then_has_nothing_to_do(expressions):
    small = ("image_size=64", "batch_size=16", "epochs=1", "weights=none", "log_with=none")
    sweep = ["sweep", "--table", "3", "--seeds", "2", *(f"--set={setting}" for setting in small)]
    planned = in_a_process(expressions, *sweep, "--dry-run").stderr
    assert "accelerate launch cli.py train --shards data/shards/raf-db --recipe" in planned
    assert planned.count("--recipe avce_discrete") == 2 and not (expressions / "runs").exists()
    done = in_a_process(expressions, *sweep)
    assert done.returncode == 0, done.stderr
    assert "no split val in these shards: scored on test" in done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("AVCE-discrete"))
    assert "0.847 | 0." in row and "±" in row and row.endswith("2")
    again = in_a_process(expressions, *sweep)
    assert done.stdout.endswith(again.stdout) and "--recipe" not in again.stderr
    # what was held out in training is what the other commands score, unless told otherwise
    scored = in_a_process(expressions, "eval", "runs/table3/avce_discrete/seed0", "--json")
    assert json.loads(scored.stdout)["split"] == "test"


def test_shards_of_expressions_name_the_recipe_for_them(expressions):
    shard = in_a_process(expressions, "shard", "raf-db")  # finished already
    assert "--shards data/shards/raf-db --recipe avce_discrete" in shard.stdout + shard.stderr
    wrong = in_a_process(expressions, "train", "--shards", "data/shards/raf-db")
    assert wrong.returncode == 1 and "so use --recipe avce_discrete" in wrong.stderr


def test_a_sweep_that_cannot_begin_says_why(tmp_path):
    done = in_a_process(tmp_path, "sweep", "--table", "3", "--set", "weights=none")
    assert done.returncode == 1 and "data/shards/raf-db" in done.stderr
    assert "runs/table3/avce_discrete/seed0 could not begin" in done.stderr


def test_a_training_whose_attentive_view_stays_a_vertex_says_so_once(capsys):
    record = {"steps": 4, "losses": {"mse": 0.1}, "images_per_s": 100.0}
    with terminal.training_bar() as progress:
        assert progress is not None
        for step, support in enumerate((1.5, 1.0, 1.0, 1.2, *[1.0] * 4, 1.2), start=1):
            progress(record | {"step": step, "support": support})
        assert "SparseMax" not in capsys.readouterr().err  # a vertex that is left is no news
        for step, support in enumerate([1.0] * 20, start=10):
            progress(record | {"step": step, "support": support})
    assert capsys.readouterr().err.count("SparseMax keeps one entry of z for every face") == 1


@pytest.mark.parametrize(
    "words",
    [
        "recipes",
        "train",
        "train --recipe nope",
        "train --resume nowhere",
        "eval nowhere",
        "figures nowhere",
        "report nowhere",
        "export --run nowhere",
        "predict nofile.jpg",
        "inspect nowhere",
        "table 1",
    ],
)
def test_the_first_answer_waits_for_no_heavy_library(words, tmp_path):
    code = """if True:
        import sys, avce.commands
        try:
            avce.commands.main()
        finally:
            print("\\nmet:", *(set(sys.modules) & {%r}), file=sys.stderr)
    """.replace("{%r}", repr(HEAVY))
    command = [sys.executable, "-c", code, *words.split()]
    known = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=known, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "met:", done.stderr
    fine = words in ("recipes", "table 1")
    assert (done.returncode == 0) == fine


HEAVY = {"torch", "torchvision", "nvidia", "accelerate", "matplotlib", "sklearn", "cvxpy"}


def test_ctrl_c_while_python_reads_itself_is_no_traceback():
    command = [sys.executable, "-X", "importtime", "cli.py", "train"]
    seen = []
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            seen.append(line)
            if line.endswith(" rich.text\n"):  # of typer, half of what is read
                process.send_signal(signal.SIGINT)
    assert process.returncode in (-signal.SIGINT, 130)
    assert "Traceback" not in "".join(seen)


def test_the_end_searches_for_no_cycles():
    """With torch it took 1 to 2 s, of the 2 within which a stopped training has to be gone."""
    code = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count()))\n"  # the last
    code += "from avce.commands import main; main()"
    command = [sys.executable, "-c", code, "recipes"]
    ended = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert int(ended.stdout.split()[-1]) > 10_000


def test_ctrl_c_when_all_is_said_is_no_traceback():
    code = "import atexit, os, signal\n"
    code += "atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"  # the last
    code += "from avce.commands import main; main()"
    command = [sys.executable, "-c", code, "recipes"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
