"""From a configuration to the method it describes, with the weights it asks for."""

from __future__ import annotations

import torch

from avce.config import STARTER, Config
from avce.method.base import Method
from avce.method.caf import CAF
from avce.method.contrastive import Views
from avce.method.encoders import build_encoder, check_encoder, kaiming
from avce.method.models import (
    AVModel,
    CAFCompressor,
    Classifier,
    Compressor,
    LinearRegressor,
    Regressor,
    wide_normal,
)
from avce.method.pretrained import load_pretrained, read_tensors, torchvision_imagenet
from avce.ranks import gather_norms

__all__ = ["Method", "build_method", "build_model"]


def build_method(config: Config, *, pretrained: bool = True) -> Method:
    """The method of `config`, seeded by `config.seed`, with the weights it asks for.

    `pretrained=False` leaves `config.weights` out, for a checkpoint about to be loaded. Raises
    ValueError, FileNotFoundError or OSError where the weights cannot be had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        method = _built(config)
    if pretrained and config.weights != "none":
        _start_from(method.model, config)
    if config.gather:
        gather_norms(method)
    return method


def _start_from(model: AVModel, config: Config) -> None:
    if config.weights == "imagenet":
        tensors = torchvision_imagenet(config.encoder)
        load_pretrained(model, tensors, "the file of ImageNet weights")
    else:
        file = STARTER if config.weights == "starter" else config.weights
        load_pretrained(model, read_tensors(file), str(file))


def _built(config: Config) -> Method:
    if config.method == "caf":
        return CAF(build_model(config), config)
    method = Views(build_model(config), config)
    if config.head_init == "normal":
        for name in method.heads:
            wide_normal(method.get_submodule(name))
    return method


def build_model(config: Config) -> AVModel:
    """Encoder, compressor and regressor of `config`, without any trained weights.

    `config.start` says how AlexNet's trunk starts where it will see no trained weights.
    """
    check_encoder(config.encoder, config.image_size)
    encoder, channels, pool = build_encoder(config.encoder)
    outputs = config.classes if config.task == "expression" else 2
    norm = config.norm == "batch"
    slip = config.authors_r18_dropout and config.encoder.startswith("resnet")
    if config.stack == "classifier":
        model = AVModel(encoder, Classifier(config.dropout), LinearRegressor(1000, outputs))
    elif config.stack == "caf":
        model = AVModel(
            encoder, CAFCompressor(channels, pool, config.dropout), LinearRegressor(8, 2)
        )
    else:
        model = AVModel(
            encoder,
            Compressor(
                channels,
                pool,
                hidden=1000 if config.encoder == "resnet18" else None,
                dropout=config.dropout,
                slip=slip,
            ),
            Regressor(
                outputs,
                norm=norm,
                dropout=config.dropout,
                activation=_output(config),
                slip=slip,
            ),
        )
    if config.weights == "none" and config.encoder == "alexnet" and config.start == "kaiming":
        kaiming(model.encoder)  # the other encoders start well by themselves
    return model


def _output(config: Config) -> str:
    if config.task == "expression":
        return "sigmoid" if config.class_sigmoid else "none"
    return "tanh" if config.prediction_tanh else "none"
