"""`Tars`: the stored images of a selection by position, read from their tars and looked over.

Bytes are read by `pread` and not memory-mapped: it costs a hundredth of decoding either way, and a
tar that is cut, or a disk that fails, under a running training is then a short read or an error
with a sentence, where a mapped page would end the process by SIGBUS.
"""

from __future__ import annotations

import os
import resource
from collections import OrderedDict

import numpy as np

from pipelines.markers import is_whole
from shards import Selection
from shards.index import BLOCK
from shards.labels.schema import checksum

CHECKS = ("markers", "crc")
_ROW = 8  # bytes of KEY.row


class Tars:
    """What a selection's tars hold, by position in the selection.

    Every tar is looked at when this is made and again when it is opened: FileNotFoundError where
    one is missing, ValueError where it has not the size its index recorded.
    """

    def __init__(self, selection: Selection, check: str = "markers") -> None:
        if check not in CHECKS:
            raise ValueError(f"check {check!r} does not exist; choose one of {', '.join(CHECKS)}")
        index = selection.index
        self.selection = selection
        self._tar = index.tar_of_row(selection.rows)
        self._offset = selection.column("shard_offset")
        self._size = selection.column("image_size")
        self.sides = np.stack([selection.column("width"), selection.column("height")], axis=1)
        self._row = selection.column("row")
        self._crc = _checksums(selection) if check == "crc" else None
        self._open: OrderedDict[int, int] = OrderedDict()  # tar: descriptor, the last used last
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = 512 if soft == resource.RLIM_INFINITY else max(1, min(512, soft // 4))
        for tar in np.flatnonzero(np.bincount(self._tar)).tolist():
            self._check_size(tar)

    def __del__(self) -> None:
        for descriptor in getattr(self, "_open", {}).values():
            os.close(descriptor)

    def read(self, positions: np.ndarray) -> tuple[list[np.ndarray], list[int]]:
        """The encoded images at `positions`, uint8, and which of them (0..n-1) are broken.

        Broken is what cannot be read to its end or lacks the markers of an image, with
        `check="crc"` also what is not the very bytes that were stored. Raises ValueError
        where KEY.row behind a whole image is not the row the index promised, which without this
        would train on shifted labels.
        """
        sizes = self._size[positions]
        lengths = -(-sizes // BLOCK) * BLOCK + BLOCK + _ROW  # up to KEY.row, see `row_offset`
        starts = np.cumsum(lengths) - lengths
        content = np.empty(int(lengths.sum()), np.uint8)
        found = self._fill(content, positions, starts, lengths)
        images = [
            content[start : start + size]
            for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)
        ]
        broken = [
            i
            for i, (image, position) in enumerate(zip(images, positions.tolist(), strict=True))
            if not (found[i] and self._is_right(image, position))
        ]
        tails = (starts + lengths)[:, None] + np.arange(-_ROW, 0)
        self._check_rows(positions, content[tails].view("<i8")[:, 0], broken)
        return images, broken

    def place(self, position: int) -> str:
        """Where an image lies, for people: tar:offset:key."""
        key = self.selection.take([position]).column("sample_key")[0]
        return f"{self._path(int(self._tar[position]))}:{self._offset[position]}:{key}"

    def _is_right(self, image: np.ndarray, position: int) -> bool:
        if not is_whole(image.data, *self.sides[position].tolist()):
            return False
        return self._crc is None or checksum(image.data) == int(self._crc[position])

    def _fill(
        self, content: np.ndarray, positions: np.ndarray, starts: np.ndarray, lengths: np.ndarray
    ) -> list[bool]:
        """Read each span into its part of `content`, tar by tar; which ones were there whole."""
        whole = [False] * len(positions)
        view = content.data
        for i in np.argsort(self.selection.rows[positions]).tolist():
            descriptor = self._descriptor(int(self._tar[positions[i]]))
            start, length = int(starts[i]), int(lengths[i])
            span = view[start : start + length]
            try:
                whole[i] = os.preadv(descriptor, [span], int(self._offset[positions[i]])) == length
            except OSError:  # a sector that is lost: of this image, not of the training
                continue
        return whole

    def _descriptor(self, tar: int) -> int:
        """An open tar; the one used longest ago is closed where too many are open."""
        if tar in self._open:
            self._open.move_to_end(tar)
            return self._open[tar]
        self._check_size(tar)
        if len(self._open) >= self._most:
            os.close(self._open.popitem(last=False)[1])
        self._open[tar] = os.open(self._path(tar), os.O_RDONLY | os.O_CLOEXEC)
        return self._open[tar]

    def _path(self, tar: int) -> os.PathLike[str]:
        return self.selection.index.tars[tar]

    def _check_size(self, number: int) -> None:
        index = self.selection.index
        tar = index.tars[number]
        first = index.tar_starts[number : number + 1]
        recorded = index.metadata_of_folder(int(index.folder_of_row(first)[0]))["tars"][tar.name]
        try:
            size = tar.stat().st_size
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{tar} is missing though its index names it; write the shards again or fetch it"
            ) from None
        if size != recorded["size"]:
            raise ValueError(
                f"{tar} has {size:,} bytes and its index recorded "
                f"{recorded['size']:,}; it is cut or another tar: write the shards again"
            )

    def _check_rows(self, positions: np.ndarray, found: np.ndarray, broken: list[int]) -> None:
        expected = self._row[positions]
        differs = np.flatnonzero(found != expected).tolist()
        for i in (i for i in differs if i not in broken):
            raise ValueError(
                f"{self.place(int(positions[i]))} holds KEY.row {found[i]} and its index says "
                f"{expected[i]}; the tar is not the one the index was written for: "
                "write the shards again"
            )


def _checksums(selection: Selection) -> np.ndarray | None:
    """None where an older version wrote an index without them: markers are then all there is."""
    known = selection.arrow("crc")
    return None if known.null_count else known.to_numpy()
