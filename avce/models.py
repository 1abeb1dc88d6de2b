"""The networks: encoder, compressor, regressor, heads; shapes and counts as in method.md 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
import torchvision
from jaxtyping import Float
from torch import Tensor, nn

from avce.gather import all_sum, world_size

LATENT = 32  # width of z
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of every input: ImageNet, RGB, in [0, 1]


class AlexNetTrunk(nn.Module):
    """The convolutions of AlexNet, named as torchvision names them: (b, 3, 224, 224) to 256x6x6.

    2,469,696 parameters. No grouped convolution, no local response normalisation.
    """

    channels, pool = 256, 6

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
        )

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 256 i j"]:
        return self.features(image)


class ResNetTrunk(nn.Module):
    """ResNet18 without global pooling and fc, named as torchvision names it: to 512x7x7.

    11,176,512 parameters.
    """

    channels, pool = 512, 1

    def __init__(self) -> None:
        super().__init__()
        whole = torchvision.models.resnet18(weights=None)
        for name, part in whole.named_children():
            if name not in ("avgpool", "fc"):
                self.add_module(name, part)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 512 i j"]:
        for part in self.children():  # in the order of torchvision's forward
            image = part(image)
        return image


def build_encoder(name: str) -> tuple[nn.Module, int, int | None]:
    """The encoder called `name`, its channels, and the grid its maps are pooled to.

    The grid is None where the encoder already gives a vector: ResNet50 and 101, which the
    released code uses whole, 1000-way fc included, and every timm model.
    """
    if name == "alexnet":
        return AlexNetTrunk(), AlexNetTrunk.channels, AlexNetTrunk.pool
    if name == "resnet18":
        return ResNetTrunk(), ResNetTrunk.channels, ResNetTrunk.pool
    if name in ("resnet50", "resnet101"):
        return getattr(torchvision.models, name)(weights=None), 1000, None
    if name.startswith("timm/"):
        model = _timm(name.removeprefix("timm/"))
        return model, int(model.num_features), None
    raise ValueError(
        f"encoder {name!r} is unknown; use alexnet, resnet18, resnet50, resnet101 or timm/NAME"
    )


def _timm(name: str) -> Any:
    try:
        import timm
    except ImportError:
        raise ValueError(
            f"encoder timm/{name} needs timm, which is not installed; pip install 'avce[timm]'"
        ) from None
    if name not in timm.list_models():
        near = timm.list_models(f"*{name[:6]}*")[:3]
        raise ValueError(f"timm has no model {name!r}; near ones: {', '.join(near) or 'none'}")
    model = timm.create_model(name, pretrained=False, num_classes=0)
    trained_on: Any = model.pretrained_cfg
    _renormalise(model, trained_on["mean"], trained_on["std"])
    return model


def _renormalise(encoder: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
    """Let an encoder see what its weights were trained on, where that is not ImageNet's mean and
    deviation: EfficientNet-lite and many others have 0.5 and 0.5. A hook leaves tensor names."""
    if (tuple(mean), tuple(std)) == (MEAN, STD):
        return

    ours, theirs = (torch.tensor(v, dtype=torch.float64) for v in ((MEAN, STD), (mean, std)))
    ours, theirs = (values.view(2, 3, 1, 1) for values in (ours, theirs))
    # buffers follow the encoder to its device: a tensor made in the hook would wait for the copy
    encoder.register_buffer("input_scale", ours[1] / theirs[1], persistent=False)
    encoder.register_buffer("input_shift", (ours[0] - theirs[0]) / theirs[1], persistent=False)

    def before(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        scale, shift = (module.get_buffer(f"input_{part}") for part in ("scale", "shift"))
        return (args[0] * scale.to(args[0].dtype) + shift.to(args[0].dtype),)

    encoder.register_forward_pre_hook(before)


def torchvision_imagenet(encoder: str) -> dict[str, Tensor]:
    """ImageNet tensors of a torchvision encoder, from its cache or by download.

    Raises ValueError for encoders torchvision does not have and OSError, with what to do instead,
    where the download fails.
    """
    if encoder.startswith("timm/"):
        raise ValueError(
            f"weights=imagenet is torchvision's, which has no {encoder}; give weights=none or the "
            "path of a file"
        )
    weights = torchvision.models.get_model_weights(encoder)["IMAGENET1K_V1"]  # the papers' day
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:  # no network, no room, or a torn download
        raise OSError(
            f"the ImageNet weights of {encoder} could not be downloaded from {weights.url} "
            f"({error}); connect, or give weights=none or weights=PATH to a local file"
        ) from error


def imagenet_at_hand(encoder: str) -> bool:
    """Whether torchvision's ImageNet weights of an encoder are on this disk already."""
    if encoder.startswith("timm/"):
        return False
    url = torchvision.models.get_model_weights(encoder)["IMAGENET1K_V1"].url
    return (Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]).is_file()


class Compressor(nn.Module):
    """Features to z in R^32, z >= 0: pool, flatten, [FC hidden,] dropout, FC, ReLU.

    AlexNet: pool to 6x6, FC 9216->32 (294,944). ResNet18: pool to 1x1, FC 512->1000, FC 1000->32
    (545,032). Vectors: FC 1000->32 (32,032). `slip` keeps the dropout on at evaluation too, as
    the released ResNet18 does: its predictions are random.
    """

    def __init__(
        self,
        channels: int,
        pool: int | None,
        *,
        hidden: int | None = None,
        dropout: float = 0.5,
        slip: bool = False,
    ) -> None:
        super().__init__()
        self.pool = nn.Identity() if pool is None else nn.AdaptiveAvgPool2d(pool)
        self.dropout, self.slip = dropout, slip
        width = channels * (pool or 1) ** 2
        if hidden is None:
            self.fc = nn.Linear(width, LATENT)
        else:
            self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, LATENT)
        self.hidden = hidden

    def forward(self, features: Float[Tensor, "b c *grid"]) -> Float[Tensor, "b 32"]:
        flat = self.pool(features).flatten(1)
        if self.hidden is not None:
            flat = self.fc1(flat)
        flat = F.dropout(flat, self.dropout, training=self.training or self.slip)
        return F.relu(self.fc(flat) if self.hidden is None else self.fc2(flat))


class Classifier(nn.Module):
    """AlexNet's own fully connected stack to 1000 classes, the 58.6M of the published baseline."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 36, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, 1000),
        )

    def forward(self, features: Float[Tensor, "b 256 i j"]) -> Float[Tensor, "b 1000"]:
        return self.classifier(self.pool(features).flatten(1))


class CAFCompressor(nn.Module):
    """Pool, flatten, dropout, FC to 64, ReLU, dropout, FC to 8, ReLU; with the 8->2 regressor
    590,426 parameters on AlexNet."""

    def __init__(self, channels: int, pool: int | None, dropout: float = 0.5) -> None:
        super().__init__()
        self.pool = nn.Identity() if pool is None else nn.AdaptiveAvgPool2d(pool)
        self.width = channels * (pool or 1) ** 2
        self.fc1, self.fc2 = nn.Linear(self.width, 64), nn.Linear(64, 8)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Float[Tensor, "b c *grid"]) -> Float[Tensor, "b 8"]:
        hidden = F.relu(self.fc1(self.dropout(self.pool(features).flatten(1))))
        return F.relu(self.fc2(self.dropout(hidden)))


class GatheredBatchNorm(nn.BatchNorm1d):
    """Batch norm over the rows of all ranks, so that two ranks train as one does.

    Without ranks it is BatchNorm. `SyncBatchNorm` does not run on CPUs. Any number of trailing
    dimensions; a training batch of one row has no spread and is refused.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"batch norm takes (batch, channels, ...), not {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(input)
        dims = [0, *range(2, input.dim())]
        rows = input.float()
        count = rows.numel() // rows.shape[1] * world_size()
        mean = all_sum(rows.sum(dims)) / count
        centred = rows - _per_channel(mean, rows)
        variance = all_sum(centred.square().sum(dims)) / count
        self._remember(mean.detach(), variance.detach(), count)
        scaled = centred * _per_channel(torch.rsqrt(variance + self.eps), rows)
        return (scaled * _per_channel(self.weight, rows) + _per_channel(self.bias, rows)).to(input)

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (like.dim() - 2))


def gather_norms(module: nn.Module) -> None:
    """Replace the batch norms inside `module` by gathered ones, parameters and buffers kept."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            gathered = GatheredBatchNorm(child.num_features, child.eps, child.momentum)
            gathered.load_state_dict(child.state_dict())
            setattr(module, name, gathered)
        else:
            gather_norms(child)


Activation = Literal["none", "relu", "leaky", "tanh"]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "leaky": lambda x: F.leaky_relu(x, 0.01),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


class Head(nn.Module):
    """[dropout,] FC, [BN,] ReLU, FC, output: the shape of regressor, projection and extra head.

    R 32-256-2: 8,962 parameters, 9,474 with BN; V 32-64-8: 2,632 or 2,760. BN needs two rows in
    training: ValueError.
    """

    def __init__(
        self,
        hidden: int,
        outputs: int,
        *,
        norm: bool = True,
        dropout: float = 0.0,
        activation: str = "none",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(LATENT, hidden), nn.Linear(hidden, outputs)
        self.norm = nn.BatchNorm1d(hidden) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.activation, self.scale = activation, scale

    def forward(self, z: Float[Tensor, "b 32"]) -> Float[Tensor, "b k"]:
        self._need_rows(z)
        hidden = F.relu(self.norm(self.fc1(self.dropout(z))))
        output = _ACTIVATIONS[self.activation](self.fc2(hidden))
        return output if self.scale == 1.0 else self.scale * output

    def _need_rows(self, z: Tensor) -> None:
        ranks = world_size() if isinstance(self.norm, GatheredBatchNorm) else 1
        if self.training and z.shape[0] * ranks < 2 and not isinstance(self.norm, nn.Identity):
            raise ValueError(
                "a training batch of 1 has no spread for batch norm; use batch_size 2 or more, "
                "or norm=none"
            )


class Regressor(Head):
    """z to x, the prediction: valence and arousal, or one logit a class; dropout on z."""

    def __init__(
        self,
        outputs: int = 2,
        *,
        norm: bool = True,
        dropout: float = 0.5,
        activation: str = "none",
    ) -> None:
        super().__init__(256, outputs, norm=norm, dropout=dropout, activation=activation)


class ProjectionHead(Head):
    """H: a view of z to an emotion y, 0.5 tanh, shared by both views; `scale` 0: linear."""

    def __init__(self, outputs: int = 2, *, norm: bool = True, scale: float = 0.5) -> None:
        activation = "tanh" if scale else "none"
        super().__init__(256, outputs, norm=norm, activation=activation, scale=scale or 1.0)


class ExtraHead(Head):
    """V: z or a view to R^8 for the discriminative loss; the last ReLU is really there."""

    def __init__(self, *, norm: bool = True, activation: Activation = "relu") -> None:
        super().__init__(64, 8, norm=norm, activation=activation)


class Projector(nn.Module):
    """z to R^width for Barlow-Twins on z: two layers with BN between, as Zbontar et al. have it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(LATENT, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, z: Float[Tensor, "b 32"]) -> Float[Tensor, "b w"]:
        return self.layers(z)


class LinearRegressor(nn.Module):
    """One linear layer to the outputs, behind AlexNet's classifier or CAF's compressor."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, outputs)

    def forward(self, z: Float[Tensor, "b w"]) -> Float[Tensor, "b k"]:
        return self.fc(z)


class AVModel(nn.Module):
    """What predicts: encoder, compressor, regressor. All that inference needs, for any method."""

    def __init__(self, encoder: nn.Module, compressor: nn.Module, regressor: nn.Module) -> None:
        super().__init__()
        self.encoder, self.compressor, self.regressor = encoder, compressor, regressor

    def latent(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """z, before the regressor."""
        return self.compressor(self.encoder(image))

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k"]:
        return self.regressor(self.latent(image))


def kaiming(module: nn.Module) -> None:
    """He et al. 2015 for every convolution: activations keep their size in depth, so that a trunk
    from scratch learns at once. Biases become 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def wide_normal(module: nn.Module) -> None:
    """The released heads' start: weights N(0, 1), biases 0.01; most outputs are saturated."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight)
            nn.init.constant_(part.bias, 0.01)
