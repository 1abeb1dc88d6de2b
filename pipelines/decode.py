"""From encoded bytes to normalised pixels: `Augment`, its random draws, and the DALI graph.

The graph is: decode straight into the crop, flip, and one affine map per image and channel that is
brightness, contrast and normalisation at once. On a CPU the decoder takes two thirds of the time
and the rest is one pass over the pixels. A resize would cost more than all of that, so none is done
where the stored size fits (256 stored, 224 wanted).

Random numbers do not come from DALI. They are a function of (seed, epoch, place in the epoch),
drawn here and fed beside the images: a resumed run, or one on other ranks, sees the same pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    """The DALI graph of one rank: `over_plan` for shards, `over_bytes` for images in memory."""

    geometry: Geometry
    batch_size: int
    threads: int
    device: int | None = None  # a GPU's number, or None for the CPU
    prefetch: int = 2  # batches decoded ahead

    def over_plan(
        self, tars: Sequence[str], plans: Sequence[str], numbers: Iterable[Draw]
    ) -> Pipeline:
        """A built pipeline that follows the lines of `plans`, each a planned `.idx` of its tar.

        `numbers` yields, batch by batch, the place in the read batch (int32) of each sample of the
        wanted one, and its `inputs`; its end is the pipeline's end. The plans may be deleted
        afterwards. Gives (image, row): row is the int64 that each KEY.row holds.
        """
        pipeline = self._pipeline(self.batch_size)
        with pipeline:
            encoded, row = fn.readers.webdataset(
                paths=list(tars),
                index_paths=list(plans),
                ext=["jpg;png", "row"],
                dtypes=[Kind.UINT8, Kind.INT64],
                missing_component_behavior="error",  # by default it is an empty array, silently
                pad_last_batch=True,  # without it, epochs after the first are no permutations
                name="reader",
            )
            places, *fed = fn.external_source(
                source=numbers, num_outputs=6, batch=True, dtype=[Kind.INT32, *_FED]
            )
            encoded, row = (fn.permute_batch(read, indices=places) for read in (encoded, row))
            pipeline.set_outputs(self._pixels(encoded, fed), row)
        pipeline.build()
        return pipeline

    def over_bytes(self, images: Sequence[bytes], numbers: Draw) -> Pipeline:
        """A built pipeline over one batch of encoded images; gives (image,)."""
        pipeline = self._pipeline(len(images))
        encoded = [np.frombuffer(image, np.uint8) for image in images]
        once = [(encoded, *numbers)]
        with pipeline:
            content, *fed = fn.external_source(
                source=once,
                num_outputs=1 + len(numbers),
                batch=True,
                dtype=[Kind.UINT8, *_FED],
            )
            pipeline.set_outputs(self._pixels(content, fed))
        pipeline.build()
        return pipeline

    def _pipeline(self, batch_size: int) -> Pipeline:
        return Pipeline(
            batch_size=batch_size,
            num_threads=self.threads,
            device_id=self.device,
            prefetch_queue_depth=self.prefetch,
        )

    def _pixels(self, encoded: Any, fed: Sequence[Any]) -> Any:
        x, y, flip, mean, std = fed
        picture = self._cut(encoded, x, y)
        return fn.crop_mirror_normalize(
            picture, mirror=flip, mean=mean, std=std, dtype=Kind.FLOAT, output_layout="CHW"
        )

    def _cut(self, encoded: Any, x: Any, y: Any) -> Any:
        where = "cpu" if self.device is None else "mixed"
        shape = self.geometry
        if shape.stored is None:
            picture = fn.decoders.image(encoded, device=where, jpeg_fancy_upsampling=True)
            picture = fn.resize(picture, resize_shorter=round(shape.size / CROP))
            return fn.crop(picture, crop=(shape.size, shape.size), crop_pos_x=x, crop_pos_y=y)
        picture = fn.decoders.image_crop(
            encoded,
            device=where,
            crop=(shape.crop, shape.crop),
            crop_pos_x=x,
            crop_pos_y=y,
            jpeg_fancy_upsampling=True,  # nvJPEG then gives the CPU decoder's pixels
        )
        return picture if shape.crop == shape.size else fn.resize(picture, size=[shape.size] * 2)


_FED = [Kind.FLOAT, Kind.FLOAT, Kind.INT32, Kind.FLOAT, Kind.FLOAT]  # of `inputs`
