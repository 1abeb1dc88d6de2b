"""The log is read line by line: a cut end is forgotten, anything else is a sentence."""

from __future__ import annotations

import pytest

from avce.training.journal import read_log


@pytest.mark.parametrize("line", ["[1]", "null", '{"step": "1"}', '{"loss": 1}', '{"step": NaN}'])
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    path = tmp_path / "log.jsonl"
    path.write_text(f'{{"step": 0}}\n{line}\n{{"step": 2}}\n')
    with pytest.raises(ValueError, match=r"log\.jsonl: line 2 is no record of a log"):
        read_log(path)


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 0}\n{"step": 1, "x": "\xc3')
    assert read_log(path) == [{"step": 0}]
