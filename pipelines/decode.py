"""From encoded bytes to normalised pixels: the DALI graph, and `Decoder` that runs it for good.

The graph is: decode straight into the crop, flip, and one affine map per image and channel that is
brightness, contrast and normalisation at once. On a CPU the decoder takes two thirds of the time
and the rest is one pass over the pixels. A resize would cost more than all of that, so none is done
where the stored size fits (256 stored, 224 wanted).

Random numbers do not come from DALI. They are a function of (seed, epoch, place in the epoch),
drawn here and fed beside the images: a resumed run, or one on other ranks, sees the same pixels.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import nvidia.dali.fn
import torch
from nvidia.dali.pipeline import Pipeline
from nvidia.dali.types import DALIDataType as Kind
from torch import Tensor

from pipelines.augment import Draws
from pipelines.pixels import CROP, MEAN, STD, Geometry

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of grey, ITU-R BT.601
GREY = 128.0  # what contrast turns about
_PALE = 1 / 512  # the least saturation: half a grey level of the strongest colour

Draw = tuple[np.ndarray, ...]
fn: Any = nvidia.dali.fn  # typed as if every operator might return nothing


def inputs(draws: Draws, geometry: Geometry) -> Draw:
    """What is fed to the graph beside the images: x, y of the crop, flip, mean and std.

    Brightness b and contrast c about 128 make b c p + 128 (1 - c) of a pixel p; normalising that by
    mean and std is normalising p by (mean - 128 (1 - c)) / (b c) and std / (b c). With saturation s
    it becomes s times that plus what `add_grey` expects to find.
    """
    crop = draws.crop
    if (room := geometry.room) is not None:  # each of the room + 1 whole pixels equally likely
        crop = np.floor(crop * (room + 1)) / max(room, 1)
    saturation = np.maximum(draws.saturation, _PALE)[:, None]
    gain = np.maximum(draws.brightness * draws.contrast, 1e-6)[:, None]  # black, not infinite
    std = STD / (gain * saturation)
    mean = (MEAN - GREY * (1 - draws.contrast[:, None])) / gain
    mean = mean - std * (1 - saturation) * (LUMA @ MEAN - MEAN) / STD
    x, y = np.ascontiguousarray(crop.astype(np.float32).T)
    return x, y, draws.flip.astype(np.int32), mean, std


def add_grey(images: Tensor, saturation: np.ndarray) -> None:
    """Finish the saturation s of normalised images (n, 3, H, W) in place: s p + (1 - s) grey(p).

    The graph has done s p; each channel still needs its part of the grey, (1 - s) / (s std) times
    luma . (s std p). DALI's own operators mix channels at twice the cost of all the rest; this adds
    a seventh. On a CPU it goes image by image in the cache, in numpy: torch's threads would
    fight with DALI's over the cores.
    """
    s = np.maximum(saturation, _PALE)[:, None]
    shares = (1 - s) / (s * STD)
    weights = LUMA * STD
    if images.is_cuda:
        grey = torch.einsum("nchw,c->nhw", images, torch.from_numpy(weights).to(images.device))
        images += torch.from_numpy(shares).to(images.device)[:, :, None, None] * grey[:, None]
        return
    grey = np.empty(images.shape[2:], np.float32)
    part = np.empty_like(grey)
    for image, share in zip(images.numpy(), shares, strict=True):
        np.multiply(image[0], weights[0], out=grey)
        for channel in (1, 2):
            grey += np.multiply(image[channel], weights[channel], out=part)
        for channel in range(3):
            image[channel] += np.multiply(grey, share[channel], out=part)


@dataclass(frozen=True)
class Graph:
    """The DALI graph of one rank, from encoded images to pixels, in one piece or in two."""

    geometry: Geometry
    batch_size: int
    threads: int
    device: int | None = None  # a GPU's number, or None for the CPU
    prefetch: int = 2  # batches decoded ahead
    channels_last: bool = False  # the pixels' memory format

    def pixels(self) -> Pipeline:
        """Encoded images and `inputs` to normalised float32 (n, 3, H, W)."""
        shape = self.geometry
        with self._pipeline() as pipeline:
            encoded, fed = self._content(), self._fed()
            if shape.stored is None:
                picture = fn.resize(self._decode(encoded), resize_shorter=round(shape.size / CROP))
                pipeline.set_outputs(self._cut(picture, fed))
            else:
                pipeline.set_outputs(self._normalised(self._decode(encoded, *fed[:2]), fed))
        return pipeline

    def pictures(self) -> Pipeline:
        """Encoded images of one size to whole pictures, uint8 (n, H, W, 3)."""
        with self._pipeline() as pipeline:
            pipeline.set_outputs(self._decode(self._content()))
        return pipeline

    def pixels_of_pictures(self) -> Pipeline:
        """`pictures`, where they were put, and `inputs` to what `pixels` gives, bit for bit."""
        where = "cpu" if self.device is None else "gpu"
        with self._pipeline() as pipeline:
            pictures, fed = self._content(ndim=3, layout="HWC", device=where), self._fed()
            pipeline.set_outputs(self._cut(pictures, fed))
        return pipeline

    def _pipeline(self) -> Pipeline:
        return Pipeline(
            batch_size=self.batch_size,
            num_threads=self.threads,
            device_id=self.device,
            prefetch_queue_depth=1,  # more would have to be fed at once before anything comes out
        )

    def _content(self, ndim: int = 1, **how: Any) -> Any:
        """Host memory is used where it lies; a GPU may still be reading when a batch is out."""
        uncopied = self.device is None
        return fn.external_source(
            name="content", dtype=Kind.UINT8, ndim=ndim, no_copy=uncopied, **how
        )

    def _fed(self) -> list[Any]:
        return [fn.external_source(name=name, dtype=k, ndim=n) for name, (k, n) in _FED.items()]

    def _decode(self, encoded: Any, *place: Any) -> Any:
        """The whole picture, or what lies at a place of the crop; a GPU's buffers sized ahead."""
        how: dict[str, Any] = {"jpeg_fancy_upsampling": True}  # nvJPEG then gives the CPU's pixels
        if self.device is not None and (side := self.geometry.stored) is not None:
            how |= {"preallocate_width_hint": side, "preallocate_height_hint": side}
        how["device"] = "cpu" if self.device is None else "mixed"
        if not place:
            return fn.decoders.image(encoded, **how)
        return fn.decoders.image_crop(encoded, **self._place(*place), **how)

    def _place(self, x: Any, y: Any) -> dict[str, Any]:
        return {"crop": [self.geometry.crop] * 2, "crop_pos_x": x, "crop_pos_y": y}

    def _cut(self, picture: Any, fed: Sequence[Any]) -> Any:
        """Crop and normalise, in one pass where no resize comes between: a copy costs as much."""
        place = self._place(*fed[:2])
        if self.geometry.crop == self.geometry.size:
            return self._normalised(picture, fed, **place)
        return self._normalised(fn.crop(picture, **place), fed)

    def _normalised(self, picture: Any, fed: Sequence[Any], **place: Any) -> Any:
        if self.geometry.crop != self.geometry.size:
            picture = fn.resize(picture, size=[self.geometry.size] * 2)
        _, _, flip, mean, std = fed
        layout = "HWC" if self.channels_last else "CHW"
        return fn.crop_mirror_normalize(
            picture,
            mirror=flip,
            mean=mean,
            std=std,
            dtype=Kind.FLOAT,
            output_layout=layout,
            **place,
        )


_FED = {
    "x": (Kind.FLOAT, 0),
    "y": (Kind.FLOAT, 0),
    "flip": (Kind.INT32, 0),
    "mean": (Kind.FLOAT, 1),
    "std": (Kind.FLOAT, 1),
}  # of `inputs`: type and dimensions


class Undecodable(RuntimeError):
    """DALI refused a batch; `sample` is the place in it that DALI named, if it named one."""

    def __init__(self, error: RuntimeError) -> None:
        super().__init__(str(error))
        named = re.search(r"sample #(\d+)", str(error))
        self.sample = int(named[1]) if named else None


class Decoder:
    """One lasting pipeline: batches go in at one end and come out, in that order, at the other.

    Decoding begins with `put`, in DALI's threads; what was put is kept until it is out.
    """

    def __init__(self, build: Callable[[], Pipeline], device: int | None = None) -> None:
        self._build = build
        self._device = device
        self._pipeline: Pipeline | None = None
        self._kept: deque[Any] = deque()
        self._lent: deque[tuple[torch.cuda.Event, Tensor]] = deque()

    def put(self, images: Any, numbers: Draw = ()) -> None:
        """Encoded images or pictures, a list or one array, and their `inputs`."""
        if self._pipeline is None:
            self._pipeline = self._build()
        self._kept.append(images)
        for name, fed in zip(("content", *_FED), (images, *numbers), strict=False):
            self._pipeline.feed_input(name, fed)
        self._pipeline.schedule_run()

    def get(self) -> Tensor:
        """The batch put longest ago. After Undecodable all that was put must be put again."""
        assert self._pipeline is not None, "nothing was put"
        stream = None if self._device is None else torch.cuda.current_stream(self._device)
        try:
            (found,) = self._pipeline.share_outputs(stream)
        except RuntimeError as error:
            self.drop()
            raise Undecodable(error) from error
        self._pipeline.release_outputs()
        self._kept.popleft()
        found = torch.from_dlpack(found.as_tensor())
        return found if stream is None else self._copied(found, stream)

    def drop(self) -> None:
        """Forget what was put; the next batch gets a new pipeline, which takes some ms."""
        if self._kept:
            self._pipeline = None
            self._kept.clear()

    def _copied(self, found: Tensor, stream: torch.cuda.Stream) -> Tensor:
        """A copy, for DALI may use its buffer again as soon as nobody holds it.

        The buffer itself is held until an event says that the copy has been made.
        """
        event = torch.cuda.Event()
        copy = found.clone()
        event.record(stream)
        self._lent.append((event, found))
        while self._lent and self._lent[0][0].query():
            self._lent.popleft()
        return copy
