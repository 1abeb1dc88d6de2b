"""Tables survive the names that people give, in a terminal, a spreadsheet and LaTeX."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avce.scores.sheet import Tex, as_csv, as_latex, as_text, escaped, printable

WRITTEN = {  # what LaTeX prints for each of its commands below
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    **{rf"\{mark}": mark for mark in "&%$#_{}"},
}
COMMAND = re.compile("|".join(map(re.escape, WRITTEN)))


@given(st.text())
def test_latex_prints_every_name_as_it_reads(name):
    found = escaped(name)
    assert not re.search(r"[\\&%$#_{}~^<>|\n]", COMMAND.sub("", found))
    assert COMMAND.sub(lambda m: WRITTEN[m[0]], found) == printable(" ".join(name.splitlines()))


def test_latex_keeps_other_alphabets_and_what_is_latex_already():
    assert escaped("Müller, 山田\nco") == "Müller, 山田 co"
    text = as_latex(["a", "b"], [[["x_1", Tex(r"\textbf{1}")]], [["[y]", "*"]]], notes=["a\nb"])
    assert r"x\_1 & \textbf{1} \\" in text and text.count(r"\midrule") == 2
    assert "\n{}[y] & * \\\\" in text  # else the break before takes [y] as a length
    assert text.splitlines()[-1] == "% a b"


def test_latex_compiles(tmp_path):
    if not shutil.which("pdflatex"):
        pytest.skip("no pdflatex on this machine")
    rows = [[["\\ { } $ & # _ % ~ ^ < > |", "[2]"]], [["[3cm]", "*"], ["*", "4"]]]
    page = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    page += as_latex(["Method", "b"], rows, notes=[r"50 % \undefined"]) + r"\end{document}"
    (tmp_path / "t.tex").write_text(page)
    subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    "name",
    ["=1+1", '=HYPERLINK("x")', "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1"],
)
def test_no_cell_is_a_formula(name):
    line = next(csv.reader(io.StringIO(as_csv([[name, -0.5, 3, None]]), newline="")))
    assert line == [f"'{printable(name)}", "-0.5", "3", ""]


@given(st.lists(st.text(), min_size=1))
def test_csv_comes_back_one_line_a_row(names):
    text = as_csv([names])
    assert text.count("\n") == 1 and "\r" not in text  # a bare one ends a spreadsheet's row
    found = next(csv.reader([text]))
    assert [cell.removeprefix("'") for cell in found] == [
        printable(name).removeprefix("'") for name in names
    ]


def test_a_name_that_is_no_text_is_written_all_the_same():
    bad = b"\xff.jpg".decode("utf-8", "surrogateescape")
    for text in (as_csv([[bad]]), as_text([[bad]]), as_latex(["a"], [[[bad]]])):
        assert "udcff" in text.encode().decode()


def test_a_terminal_is_sent_no_control_codes():
    text = as_text([["\x1b[31mred\x07", "a\nb"], ["\u202eabc\x9b", "1"]])
    assert text.splitlines() == [r"\x1b[31mred\x07  a\nb", r"\u202eabc\x9b       1"]


def test_a_long_name_stands_in_a_line_of_its_own():
    name = "runs/" + "x" * 60 + "/seed7"
    text = as_text([["run", *("column",) * 8], ["short", *("1",) * 8], [name, *("0.123*",) * 8]])
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[2] == name and text.splitlines()[3].split() == ["0.123*"] * 8
    assert as_text([["name", "1"], ["b", "22"]]) == "name   1\nb     22\n"
    assert as_text([["a", "b", "1"], ["", "bb", "22"]], left=2) == "a  b    1\n   bb  22\n"
