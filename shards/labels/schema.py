"""What labels.arrow holds: its columns, its versions, and where a tar's bytes lie."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from shards.sample import DATASETS, SPLITS

LABELS = "labels.arrow"
FORMAT = 4  # of the folder: rises when older readers could not read it; 2 has no dictionaries
WIDER = 5  # the same with extra columns or a data set's own name; 3 is to it as 2 is to 4
WIDE = (3, WIDER)
TARS = 2  # since which tars are as they are: finished ones of it are gone on with, whatever FORMAT
CODES = (pa.int8(), pa.int16(), pa.int32())  # numbers of words
BLOCK = 512  # everything in a tar starts at a multiple of it
TAR = re.compile(r"[0-9]{5,9}\.tar")  # what a tar is called, and nothing else
_METADATA = b"shards"  # the schema's metadata: one JSON object under this key
_NAMES = pa.dictionary(pa.int8(), pa.string())
_NUMBERS = pa.list_(pa.float32())  # of any length: a null costs nothing, of a fixed one its numbers


def _need(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


SCHEMA = pa.schema(
    [
        _need("sample_key", pa.string()),
        _need("dataset", _NAMES),
        _need("variant", pa.string()),
        _need("shard", pa.dictionary(pa.int32(), pa.string())),  # file name inside its folder
        _need("shard_offset", pa.int64()),  # of the image's data, not of its header
        _need("image_size", pa.int64()),  # bytes
        _need("extension", pa.string()),  # jpg or png
        _need("split", _NAMES),
        pa.field("official_split", pa.string()),
        pa.field("split_by_task", pa.map_(pa.string(), pa.string())),
        pa.field("fold", pa.int8()),
        pa.field("subject_id", pa.string()),
        pa.field("video_id", pa.string()),
        pa.field("person_slot", pa.string()),
        pa.field("frame_index", pa.int32()),
        pa.field("frame_name", pa.string()),
        pa.field("fps", pa.float32()),
        pa.field("timestamp_s", pa.float32()),
        _need("original_path", pa.string()),
        _need("image_format", pa.string()),  # of the source: jpeg, png, bmp, tiff, video
        _need("width", pa.int32()),  # of the stored image
        _need("height", pa.int32()),
        pa.field("src_width", pa.int32()),
        pa.field("src_height", pa.int32()),
        pa.field("pixel_aspect", pa.float32()),
        _need("sha256", pa.binary(32)),  # of the stored image
        pa.field("crc", pa.uint32()),  # `checksum` of it; null where format 1 did not say
        pa.field("bbox_xyxy", _NUMBERS),
        pa.field("bbox_source", pa.string()),
        pa.field("landmarks", _NUMBERS),
        pa.field("landmarks5", _NUMBERS),
        pa.field("landmarks37", _NUMBERS),
        pa.field("landmarks_source", pa.string()),
        pa.field("expression_raw", pa.int16()),
        pa.field("expression", pa.int8()),
        pa.field("expression_compound", pa.int8()),
        pa.field("valence", pa.float32()),
        pa.field("arousal", pa.float32()),
        pa.field("valence_raw", pa.float32()),
        pa.field("arousal_raw", pa.float32()),
        _need("va_valid", pa.bool_()),
        pa.field("action_units", pa.list_(pa.int8())),
        _need("annotation_source", pa.string()),
        pa.field("gender", pa.int8()),
        pa.field("race", pa.int8()),
        pa.field("age_group", pa.int8()),
        pa.field("emonet_clean", pa.bool_()),
        pa.field("crop_affine", _NUMBERS),  # source -> stored pixels, see crop.py
        pa.field("crop_size", pa.int16()),
        _need("quality", pa.list_(pa.string())),
    ]
)
VOCABULARY = {"dataset": DATASETS, "split": SPLITS}
LENGTHS = {  # of the lists, where they are not null
    "bbox_xyxy": 4,
    "landmarks": 136,
    "landmarks5": 10,
    "landmarks37": 74,
    "action_units": 12,
    "crop_affine": 6,
}


_CODED = {field.name for field in SCHEMA if pa.types.is_dictionary(field.type)}


def kind_of(field: pa.Field) -> pa.DataType:
    """What a column holds for whoever reads it, wherever its words lie."""
    kind = field.type
    coded = pa.types.is_dictionary(kind) and kind.index_type in CODES
    return kind.value_type if coded and field.name not in _CODED else kind


def row_offset(shard_offset: Any, image_size: Any) -> Any:
    """Where the 8 bytes of KEY.row lie: after the image, its padding and one header.

    Of one image (int), or of many (arrays of int64).
    """
    return shard_offset + -(-image_size // BLOCK) * BLOCK + BLOCK


def encoded(name: str, values: Sequence[str], own: Iterable[str] = ()) -> pa.DictionaryArray:
    """`values` as the dictionary column `name`, with the same fixed dictionary in every batch:
    ours, then `own`."""
    words = words_of(name, own)
    numbers = {word: number for number, word in enumerate(words)}
    codes = pa.array([numbers[value] for value in values], pa.int8())
    return pa.DictionaryArray.from_arrays(codes, pa.array(words))


def words_of(name: str, own: Iterable[str]) -> list[str]:
    """The words of a dictionary column: ours, then those of one's own."""
    return [*VOCABULARY[name], *sorted({*own} - {*VOCABULARY[name]})]


def checksum(content: bytes | memoryview) -> int:
    """The CRC-32 of a stored image, 1 GB/s: column `crc`, to be compared where bytes are read."""
    return zlib.crc32(content)


def metadata_of(schema: pa.Schema) -> dict[str, Any]:
    """What the writer recorded in a schema."""
    return json.loads((schema.metadata or {}).get(_METADATA, b"{}"))


def with_metadata(schema: pa.Schema, metadata: dict[str, Any]) -> pa.Schema:
    """`schema` carrying `metadata` (plain values), the same bytes for the same values."""
    return schema.with_metadata({_METADATA: json.dumps(metadata, sort_keys=False).encode()})
