"""Columns, places in a tar and metadata: against tarfile, zlib and Arrow themselves."""

from __future__ import annotations

import binascii
import io
import tarfile

import numpy as np
import pyarrow as pa
import pytest

from shards.labels.schema import (
    LENGTHS,
    SCHEMA,
    TAR,
    VOCABULARY,
    checksum,
    encoded,
    metadata_of,
    row_offset,
    with_metadata,
)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 10_000])
def test_the_row_lies_where_tarfile_puts_the_second_member(size: int):
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, content in (("k.jpg", bytes(size)), ("k.row", bytes(8))):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as tar:
            image, row = tar.getmembers()
    assert row_offset(image.offset_data, size) == row.offset_data
    many = row_offset(np.full(3, image.offset_data), np.full(3, size))
    np.testing.assert_array_equal(many, [row.offset_data] * 3)


def test_the_checksum_is_the_crc_of_zip_and_png():
    assert checksum(b"123456789") == 0xCBF43926  # the check value of CRC-32/ISO-HDLC
    assert checksum(bytes(range(256))) == binascii.crc32(bytes(range(256)))


@pytest.mark.parametrize("name", VOCABULARY)
def test_words_have_the_same_codes_in_every_batch(name: str):
    words = VOCABULARY[name]
    some, others = encoded(name, [words[-1]]), encoded(name, [*words, words[0]])
    assert some.dictionary == others.dictionary == pa.array(words)
    assert some.to_pylist() == [words[-1]] and others.to_pylist() == [*words, words[0]]
    assert some.type == SCHEMA.field(name).type
    with pytest.raises(KeyError, match="nobody"):
        encoded(name, ["nobody"])


def test_metadata_comes_back_as_it_went_and_in_its_order():
    said = {"rows": 3, "b": {"ü": [1, 2.5, None]}, "a": True}
    schema = with_metadata(SCHEMA, said)
    assert metadata_of(schema) == said and list(metadata_of(schema)) == ["rows", "b", "a"]
    assert schema.equals(SCHEMA)  # of the same columns
    again = with_metadata(SCHEMA, dict(said))
    assert schema.serialize().equals(again.serialize())
    assert metadata_of(SCHEMA) == {}


def test_every_list_has_a_length_and_tars_their_names_alone():
    lists = {field.name for field in SCHEMA if pa.types.is_list(field.type)}
    assert lists - {"quality"} == set(LENGTHS)
    for name, fits in {
        "00000.tar": True, "123456789.tar": True, "0000.tar": False, "1234567890.tar": False,
        "../00000.tar": False, "00000.tar.part": False, "00000.tar\n": False,
        "\u0660" * 5 + ".tar": False,  # Arabic digits
    }.items():  # fmt: skip
        assert bool(TAR.fullmatch(name)) == fits, name
