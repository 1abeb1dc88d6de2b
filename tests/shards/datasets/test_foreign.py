"""Files of others: what is opened, what is refused, and that each refusal names the file."""

from __future__ import annotations

import ast
import os
import socket
from pathlib import Path
from random import Random

import numpy as np
import pytest

from shards.datasets import foreign

READERS = set(Path(foreign.__file__).parent.rglob("*.py")) - {Path(foreign.__file__)}
OPENERS = {"open", "read_text", "read_bytes", "load", "loads", "listdir", "scandir", "iterdir"}


def file(root: Path, content: bytes | str = "0.5\n", name: str = "a.txt") -> Path:
    path = root / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# ---------------------------------------------------------------- what is opened


def test_a_pipe_a_device_a_socket_and_a_folder_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(tmp_path)  # a socket's path has at most 108 bytes
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        for name in ("pipe", "folder", "device", "socket"):
            with pytest.raises(ValueError, match=rf"{name} is a {name}, and only regular files"):
                foreign.content(tmp_path, tmp_path / name)


def test_a_missing_file_is_missing_and_a_link_to_itself_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        foreign.lines(tmp_path, tmp_path / "none.txt")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"):
        foreign.lines(tmp_path, tmp_path / "loop")


def test_a_file_that_is_too_large_for_its_kind_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pts"
    with path.open("wb") as sparse:
        sparse.truncate(foreign.TEXT + 1)
    with pytest.raises(ValueError, match=r"a\.pts has 268,435,457 bytes, .* at most 268,435,456"):
        foreign.points(tmp_path, path, 4)


def test_links_may_lead_around_below_the_root_and_not_out_of_it(tmp_path: Path) -> None:
    root, secret = tmp_path / "root", file(tmp_path, "secret")
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "out.txt").symlink_to(secret)
    (root / "deep" / "folder").symlink_to(tmp_path)
    (root / "deep" / "in.txt").symlink_to(file(root))
    assert foreign.lines(root, root / "deep" / "in.txt") == ["0.5"]
    for way in ("deep/out.txt", "deep/folder/a.txt", "../a.txt"):
        with pytest.raises(ValueError, match=r"a\.txt, outside .*root; put the file itself there"):
            foreign.lines(root, root / way)


def test_the_root_and_the_folders_in_it_may_be_links(tmp_path: Path) -> None:
    disk, root = tmp_path / "disk", tmp_path / "root"
    disk.mkdir()
    root.mkdir()
    file(disk)
    (root / "videos").symlink_to(disk)  # a second disk, as docs/datasets.md has it
    (tmp_path / "link").symlink_to(root)
    assert foreign.lines(tmp_path / "link", tmp_path / "link" / "videos" / "a.txt") == ["0.5"]


def test_what_systems_leave_in_folders_is_passed_over(tmp_path: Path) -> None:
    for name in (".DS_Store", "._a.txt", "Thumbs.db", "thumbs.DB", "desktop.ini", "b.TXT", "a.txt"):
        file(tmp_path, name=name)
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "clips").mkdir()
    assert foreign.names(tmp_path) == ["a.txt", "b.TXT", "clips"]
    assert foreign.names(tmp_path, ".txt") == ["a.txt", "b.TXT"]
    assert foreign.folders(tmp_path) == [tmp_path / "clips"]
    assert foreign.names(tmp_path / "none") == foreign.folders(tmp_path / "none") == []


def test_no_reader_opens_or_lists_anything_itself() -> None:
    for source in READERS:
        for node in ast.walk(ast.parse(source.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            owner = getattr(getattr(called, "value", None), "id", "")
            writes = any(isinstance(a, ast.Constant) and a.value == "w" for a in node.args)
            video = owner == "av"  # until shards/films.py has it
            pickled = owner == "" and name == "load"  # the restricted unpickler's own method
            assert name not in OPENERS or writes or video or pickled, f"{source}: {node.lineno}"


# ---------------------------------------------------------------- text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_is_read_whatever_its_mark_and_line_ends(
    encoding: str, end: str, tmp_path: Path
) -> None:
    path = file(tmp_path, end.join(["é\u2028x\x0b", "", "2", "", ""]).encode(encoding))
    assert foreign.lines(tmp_path, path) == ["é\u2028x\x0b", "", "2"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a\nb\né".encode("latin-1"), r"a\.txt: line 3 is no UTF-8 text; save the file as UTF-8"),
        (
            "a\nb".encode("utf-16-le"),
            r"a\.txt: line 1 holds zero bytes, as binary files and UTF-16",
        ),
        (b"a\n\0", r"a\.txt: line 2 holds zero bytes"),
        ("a\nb".encode("utf-16")[:-1], r"a\.txt: line \d is no UTF-16 text"),
        (b"a\n" + b"x" * foreign.MIB, r"a\.txt: line 2 has more than 1,048,576 characters"),
    ],
)
def test_other_text_is_refused_with_file_and_line(
    content: bytes, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=sentence):
        foreign.lines(tmp_path, file(tmp_path, content))


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("text", ["0.5", " -2 ", "+1.", ".5", "1e-3", "007"])
def test_plain_numbers_are_read(text: str) -> None:
    assert foreign.number(text) == float(text)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "inf", "-Infinity", "nan", "1e308", "1e999", "1_0", "0x1", "٣", "½", "1 2", "1,2",
        "--1", "true",
    ],
)  # fmt: skip
def test_no_other_words_are_numbers(text: str) -> None:
    with pytest.raises(ValueError):
        foreign.number(text)


def test_numbers_of_json_are_numbers() -> None:
    assert foreign.plain(3) == 3 and foreign.plain(-0.5) == -0.5
    for value in (True, None, "3", float("nan"), float("inf"), 10**400, [1]):
        with pytest.raises(ValueError, match="and no number"):
            foreign.plain(value)


def test_rows_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "va.txt"
    assert foreign.number_rows(path, ["1,2", " 3, 4,"], first=2, width=2) == [(1, 2), (3, 4)]
    for bad in ("1", "1,2,3", "", "1,x", "1_0,2", "inf,2"):
        with pytest.raises(ValueError, match=rf"va\.txt: line 3 reads '{bad}' where 2 comma"):
            foreign.number_rows(path, ["1,2", bad], first=2, width=2)


def test_plain_rows_of_numbers_are_read_at_once_to_the_last_bit() -> None:
    rng = Random(0)
    numbers = [f"{rng.uniform(-9, 9):.{1 + k % 17}g},{k - 5}" for k in range(500)]
    found = foreign.number_table("\n".join(numbers).encode(), 2)
    rows = foreign.number_rows(Path("va.txt"), numbers, first=2, width=2)
    assert found is not None and found.tolist() == [list(row) for row in rows]


@pytest.mark.parametrize("width", [1, 2])
def test_whatever_a_row_holds_both_ways_agree_or_the_slow_one_decides(width: int) -> None:
    rng, agreed = Random(width), 0
    for _ in range(2000):
        text = bytearray(b"0.25,-1\n12,1e-3\n" if width == 2 else b"0.25\n-1\n12\n1e-3\n")
        text[rng.randrange(len(text))] = rng.choice(b"0123456789.,;-+eE _\n\r\"'xNaif\t")
        found = foreign.number_table(bytes(text), width)
        if found is not None:
            lines = text.decode().splitlines()
            rows = foreign.number_rows(Path("va.txt"), lines, first=2, width=width)
            assert found.tolist() == [list(row) for row in rows]
            agreed += 1
    assert 400 < agreed < 1600


def test_points_stand_between_braces(tmp_path: Path) -> None:
    path = file(tmp_path, "version: 1\nn_points: 2\n{\n1 2\n3  4\n}\n", "1.pts")
    assert foreign.points(tmp_path, path, 2) == (1, 2, 3, 4)
    assert foreign.points(tmp_path, tmp_path / "2.pts", 2) is None
    for text in ("{1 2 3}", "{1 2 3 nan}", "1 2 3 4", "{1 2 3 4 5}", ""):
        with pytest.raises(ValueError, match=r"1\.pts does not hold 2 points"):
            foreign.points(tmp_path, file(tmp_path, text, "1.pts"), 2)


# ---------------------------------------------------------------- JSON and arrays


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1', "Expecting"),
        ("[]", "it holds a list where an object belongs"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": [-Infinity]}', "-Infinity is no number"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands there twice"),
        ('{"a": ' + "[" * 100_000, "it is nested too deeply"),
        ('{"a": ' + "9" * 5_000 + "}", "limit"),
    ],
)
def test_json_that_is_none_is_named(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"a\.json is no clip \(.*{reason}.*; restore it"):
        foreign.json_object(tmp_path, file(tmp_path, text, "a.json"), "clip")


def test_json_may_begin_with_a_mark(tmp_path: Path) -> None:
    path = file(tmp_path, '{"a": [1, 2.5]}'.encode("utf-8-sig"), "a.json")
    assert foreign.json_object(tmp_path, path, "clip") == {"a": [1, 2.5]}


def npy(header: str, body: bytes = b"\0" * 8) -> bytes:
    return b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header.encode() + body


@pytest.mark.parametrize(
    "array", [np.array("3"), np.array(0.5), np.arange(136.0), np.zeros((2, 3))]
)
def test_small_arrays_are_read_as_numpy_reads_them(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    found = foreign.array(tmp_path, tmp_path / "a.npy")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000000000,), }"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }"),
        npy("{'descr': '<f8', 'shape': (1,), }"),
        npy("{'descr': '\\d', 'fortran_order': False, 'shape': (1,), }"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1L,), }"),
        npy("{" * 500),
        npy("(" * 5000),
        npy("[" * 60_000),
    ],
)
def test_a_broken_header_is_named_and_no_pickle_opened(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.npy is no plain \.npy file"):
        foreign.array(tmp_path, file(tmp_path, content, "a.npy"))


def test_small_files_are_read_whole_and_odd_ones_left_to_those_with_words(tmp_path: Path):
    for size in (0, 1, 4095, 4096, 9000):
        (tmp_path / f"{size}").write_bytes(b"x" * size)
    (tmp_path / "link").symlink_to("1")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    found = {path.name: foreign.small_content(str(path)) for path in tmp_path.iterdir()}
    found["gone"] = foreign.small_content(str(tmp_path / "gone"))
    assert found.pop("0") == b"" and found.pop("1") == b"x" and found.pop("4095") == b"x" * 4095
    assert {*found.values()} == {None} and len(found) == 6
