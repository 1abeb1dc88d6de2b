"""The floor plan of CONTRIBUTING.md as data, checked on the source with `ast`."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("shards", "pipelines", "avce")
MAY_IMPORT = {  # a room, or a room inside it -> the rooms beside it that it may import
    "shards": set(),
    "pipelines": {"shards"},
    "avce": set(),  # learning takes any iterable of batches and knows no data set
    "avce/inference": {"shards", "pipelines"},  # a face is cut and a film opened in one way only
    "avce/commands": {"shards", "pipelines"},
}
DOORS = {  # library -> the only files that import it
    "accelerate": {"avce/ranks.py", "avce/training/", "avce/scores/evaluate.py"},
    "av": {"shards/films.py", "shards/health.py"},
    "cvxpy": {"avce/layers/"},
    "cvxpylayers": {"avce/layers/"},
    "ecos": {"avce/layers/"},
    "facenet_pytorch": {"shards/finder.py"},
    "jinja2": {"avce/report/page.py"},
    "joblib": {"shards/building/engine.py", "shards/standins/affectnet.py"},
    "matplotlib": {"avce/report/figures.py", "avce/report/curves.py"},
    "onnxruntime": {
        "shards/finder.py",
        "avce/inference/export.py",
        "avce/inference/onnx_model.py",
    },
    "nvidia": {"pipelines/decode.py"},
    "PIL": {"shards/", "avce/inference/", "avce/report/samples.py"},
    "pillow_heif": {"shards/image.py"},
    "pydantic": {"avce/config.py", "avce/training/record.py"},
    "pyarrow": {"shards/", "avce/scores/", "avce/inference/", "avce/report/"},
    "rich": {"avce/commands/"},
    "skia": {"shards/standins/canvas.py"},
    "sklearn": {"avce/report/embedding.py"},
    "timm": {"avce/method/encoders.py"},
    "torchvision": {"avce/method/encoders.py", "avce/method/pretrained.py"},
    "typer": {"avce/commands/"},
    "webdataset": set(),  # users read our shards with it, and so do the tests
}
SHELVES = (  # inside avce a file imports only from a lower shelf, or from its own room
    {"layers", "config", "recipes", "ranks", "durable"},
    {"scores"},
    {"method"},
    {"training"},
    {"paper", "inference"},
    {"report"},
    {"commands"},
)
TOP = ("config", "recipes", "ranks", "durable")  # files beside the rooms; they may meet
BANNED = ("utils", "helpers", "common", "misc")
SOURCES = sorted([*(p for room in ROOMS for p in (ROOT / room).rglob("*.py")), *ROOT.glob("*.py")])


def imported(source: str, package: tuple[str, ...] = ()) -> set[str]:
    """Every module a source text imports, lazily or not, relative imports made absolute."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def imports(file: Path) -> set[str]:
    return imported(file.read_text(), file.relative_to(ROOT).parent.parts)


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def neighbours(file: Path) -> set[str]:
    """The other rooms that a file may import: those of the innermost room that says so."""
    rooms = [room for room in MAY_IMPORT if name(file).startswith(f"{room}/")]
    return MAY_IMPORT[max(rooms, key=len)] if rooms else set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_their_neighbours(room):
    for file in (ROOT / room).rglob("*.py"):
        met = {module.split(".")[0] for module in imports(file)} & {*ROOMS, "cli", "tests"}
        allowed = neighbours(file) | {room}
        assert met <= allowed, f"{name(file)} imports {met - allowed}"


def test_only_commands_draw_stand_ins():
    for file in SOURCES:
        drawn = {module for module in imports(file) if module.startswith("shards.standins")}
        inside = name(file).startswith(("shards/standins/", "avce/commands/"))
        assert inside or not drawn, f"{name(file)} imports {drawn}"


def test_what_is_printed_knows_no_room():
    file = "avce/commands/terminal.py"
    met = {module.split(".")[0] for module in imports(ROOT / file)}
    assert not met & {"shards", "pipelines", "cli"}, f"{file} imports {met & set(ROOMS)}"


@pytest.mark.parametrize("library", DOORS)
def test_only_its_doors_import(library):
    for file in SOURCES:
        if any(m == library or m.startswith(f"{library}.") for m in imports(file)):
            doors = DOORS[library]
            assert name(file) in doors or any(
                door.endswith("/") and name(file).startswith(door) for door in doors
            ), f"{name(file)} imports {library}; its doors are {sorted(doors)}"


def shelf(module: str) -> int | None:
    return next((i for i, shelf in enumerate(SHELVES) if module in shelf), None)


def test_avce_imports_downwards_and_never_sideways():
    for file in (ROOT / "avce").rglob("*.py"):
        own = file.relative_to(ROOT / "avce").parts[0].removesuffix(".py")
        if own in ("__init__", "__main__"):
            continue
        assert shelf(own) is not None, f"avce/{own} stands on no shelf; add it to SHELVES"
        for module in imports(file):
            parts = module.split(".")
            if parts[0] != "avce" or len(parts) == 1 or parts[1] == own:
                continue
            other = shelf(parts[1])
            if other is None or (own in TOP and parts[1] in TOP):
                continue
            assert other < shelf(own), f"{name(file)} imports avce.{parts[1]}, which is not lower"


def test_no_room_is_a_drawer():
    for file in SOURCES:
        assert not any(word in file.stem for word in BANNED), f"{name(file)}: name its concept"


def test_a_lazy_or_relative_import_is_seen():
    source = "def f():\n    from ..order import plan\n    import nvidia.dali as d\n"
    assert imported(source, ("pipelines", "deep")) == {
        "pipelines.order",
        "pipelines.order.plan",
        "nvidia.dali",
    }


OPEN_DOORS = {  # keyword-only, and called by people with two or three of them
    ("pipelines/loader.py", "batches"),
}
TESTED_ELSEWHERE = {  # a file without a test file of its own -> where its tests are, and why
    "avce/commands/paper.py": "typed as people type them: test_commands.py",
    "avce/commands/train.py": "typed as people type them: test_commands.py",
    "cli.py": "mounts the commands: commands/test_commands.py",
    "shards/datasets/aff_wild2/images.py": "finds what its reader lists: test_reader.py",
    "shards/datasets/aff_wild2/tables.py": "parses what its reader joins: test_reader.py",
    "shards/datasets/affectnet/release_2017.py": "a layout of one reader: test_reader.py",
    "shards/datasets/affectnet/release_2021.py": "a layout of one reader: test_reader.py",
    "shards/standins/oddities/afew_va.py": "read around or refused: test_switches.py",
    "shards/standins/oddities/aff_wild.py": "read around or refused: test_switches.py",
    "shards/standins/oddities/aff_wild2.py": "read around or refused: test_switches.py",
    "shards/standins/oddities/affectnet.py": "read around or refused: test_switches.py",
    "shards/standins/oddities/raf_db.py": "read around or refused: test_switches.py",
    "shards/standins/oddities/table.py": "read around or refused: test_switches.py",
}


def functions(file: Path) -> list[ast.FunctionDef]:
    nodes = ast.walk(ast.parse(file.read_text()))
    return [node for node in nodes if isinstance(node, ast.FunctionDef)]


def test_files_folders_and_functions_stay_small():
    lines = {name(file): len(file.read_text().splitlines()) for file in SOURCES}
    assert not {file for file, n in lines.items() if n > 450}
    folders = Counter(file.parent.relative_to(ROOT).as_posix() for file in SOURCES)
    assert not {folder for folder, n in folders.items() if n > 12}
    lengths = [(f.end_lineno or 0) - f.lineno + 1 for file in SOURCES for f in functions(file)]
    assert median(lengths) <= 8


def test_no_function_has_more_than_eight_parameters():
    for file in SOURCES:
        for one in functions(file):
            words = [w.arg for w in one.args.posonlyargs + one.args.args + one.args.kwonlyargs]
            many = len(words) - (words[:1] in (["self"], ["cls"])) > 8
            assert not many or (name(file), one.name) in OPEN_DOORS, f"{name(file)}: {one.name}"


def mirror(file: Path) -> Path:
    return ROOT / "tests" / file.relative_to(ROOT).parent / f"test_{file.name}"


def test_every_file_has_its_test_or_a_reason():
    for file in SOURCES:
        found = mirror(file).is_file() or name(file) in TESTED_ELSEWHERE
        assert found or file.stem.startswith("__"), f"{mirror(file)} is missing"


def test_no_reason_outlives_its_cause():
    for place, reason in TESTED_ELSEWHERE.items():
        assert (ROOT / place).is_file(), f"{place} is gone; take it off TESTED_ELSEWHERE"
        assert not mirror(ROOT / place).is_file(), f"{place} has its own test; take it off"
        where = reason.rpartition(": ")[2]
        assert list((ROOT / "tests").rglob(Path(where).name)), f"{place}: there is no {where}"
