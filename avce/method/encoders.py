"""The encoders: AlexNet, ResNets and those of timm, from an image to features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn

from avce.config import ENCODERS

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
    check_encoder(name)
    if name == "alexnet":
        return AlexNetTrunk(), AlexNetTrunk.channels, AlexNetTrunk.pool
    if name == "resnet18":
        return ResNetTrunk(), ResNetTrunk.channels, ResNetTrunk.pool
    if name in ("resnet50", "resnet101"):
        return getattr(torchvision.models, name)(weights=None), 1000, None
    model = _timm(name.removeprefix("timm/"))
    return model, int(model.num_features), None


def check_encoder(name: str, image_size: int | None = None) -> None:
    """Raise ValueError for an encoder that there is not, or that takes images of another size."""
    if name in ENCODERS:
        return
    if not name.startswith("timm/"):
        raise ValueError(f"encoder {name!r} is unknown; use {', '.join(ENCODERS)} or timm/NAME")
    try:
        import timm
    except ImportError:
        raise ValueError(
            f"encoder {name} needs timm, which is not installed; pip install 'avce[timm]'"
        ) from None
    if (model := name.removeprefix("timm/")) not in timm.list_models():
        near = timm.list_models(f"*{model[:6]}*")[:3]
        raise ValueError(f"timm has no model {model!r}; near ones: {', '.join(near) or 'none'}")
    trained_on: Any = timm.get_pretrained_cfg(model)
    fixed = image_size and trained_on and trained_on.fixed_input_size
    if fixed and trained_on.input_size[-1] != image_size:
        side = trained_on.input_size[-1]
        raise ValueError(
            f"encoder {name} takes images of {side} pixels a side, but image_size={image_size}; "
            f"set image_size={side}"
        )


def _timm(name: str) -> Any:
    import timm

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


def kaiming(module: nn.Module) -> None:
    """He et al. 2015 for every convolution: activations keep their size in depth, so that a trunk
    from scratch learns at once. Biases become 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
