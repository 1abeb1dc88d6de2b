"""Two processes that gather take the step of one: gradients and running statistics agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from avce.config import Config, with_settings
from avce.method.build import build_method
from avce.ranks import all_sum, gather, launched, refuse_other_launch, world_size
from avce.recipes import RECIPES
from avce.scores.metrics import Moments

CASES = {
    "avce, batch negatives": ("paper", "negatives=batch", "phases=joint"),
    "infonce": ("infonce", "phases=joint"),
    "reweighed": ("paper", "reweigh=plane", "phases=joint"),
    "barlow_twins": ("barlow_twins", "phases=joint"),
}


def config(*settings: str) -> Config:
    name, *rest = settings
    base = replace(RECIPES[name], weights="none", gather=True, dropout=0.0)
    return with_settings(base, rest)


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(8, 3, 64, 64, generator=generator)
    return image, torch.rand(8, 2, generator=generator) * 2 - 1


def gradients(case: str, image: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Averaged over ranks, as distributed data parallel does; running statistics beside them."""
    method = build_method(config(*CASES[case])).train()
    method.reweigh(batch()[1])
    torch.stack(list(method(image, target, "joint").values())).sum().backward()
    found = {n: p.grad for n, p in method.named_parameters() if p.grad is not None}
    for gradient in found.values():
        if world_size() > 1:
            dist.all_reduce(gradient)
            gradient /= world_size()
    return found | {n: b for n, b in method.named_buffers() if n.endswith(("mean", "var"))}


def rank_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=120),
    )
    image, target = batch()
    mine = slice(4 * rank, 4 * rank + 4)
    found = {case: gradients(case, image[mine], target[mine]) for case in CASES}
    moments = Moments()
    moments.update(image[mine, 0, 0, :2], target[mine])
    moments.all_reduce()
    codes = gather(torch.arange(4) + 4 * rank)
    if rank == 0:
        torch.save((found, moments.state, codes), f"{folder}/found.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("ranks")
    mp.spawn(rank_of_two, (str(folder),), nprocs=2)
    return torch.load(folder / "found.pt", weights_only=True)


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_take_the_step_of_one(two_ranks, case):
    wanted = gradients(case, *batch())
    found = two_ranks[0][case]
    assert set(found) == set(wanted)
    # a bias before a batch norm has no gradient but rounding, so its own size is no measure
    largest = max(float(value.abs().max()) for value in wanted.values())
    for name, value in wanted.items():
        atol = 1e-3 * float(value.abs().max()) + 1e-5 * largest
        torch.testing.assert_close(found[name], value, atol=atol, rtol=0)


def test_scores_and_labels_of_two_ranks_are_those_of_one(two_ranks):
    image, target = batch()
    whole = Moments()
    whole.update(image[:, 0, 0, :2], target)
    rows = slice(10)  # the last two count batches
    torch.testing.assert_close(two_ranks[1][rows], whole.state[rows])
    assert two_ranks[2].tolist() == list(range(8))


def test_without_ranks_nothing_happens():
    rows = torch.rand(3, 2)
    assert gather(rows) is rows and all_sum(rows) is rows and world_size() == 1


@pytest.mark.parametrize(
    ("name", "value", "precision", "said"),
    [
        ("ACCELERATE_MIXED_PRECISION", "bf16", "no", "--set precision=bf16, or"),
        ("ACCELERATE_MIXED_PRECISION", "fp16", "no", "mixed precision fp16"),
        ("ACCELERATE_MIXED_PRECISION", "fp16", "bf16", "--mixed_precision no"),
        ("ACCELERATE_MIXED_PRECISION", "fp8", "no", "mixed precision fp8"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "no", "--set batch_size"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "no", "--dynamo_backend no"),
        ("ACCELERATE_USE_FSDP", "true", "no", "FSDP"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "no", "DeepSpeed"),
    ],
)
def test_a_launch_that_contradicts_the_recipe_is_refused(monkeypatch, name, value, precision, said):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=said) as error:
        refuse_other_launch(precision)
    assert "\n" not in str(error.value)


def test_a_launch_that_agrees_is_welcome(monkeypatch):
    for name, value in (
        ("ACCELERATE_MIXED_PRECISION", "bf16"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1"),
        ("ACCELERATE_DYNAMO_BACKEND", "no"),
        ("ACCELERATE_USE_FSDP", "false"),
    ):
        monkeypatch.setenv(name, value)
    refuse_other_launch("bf16")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    refuse_other_launch("no")


@pytest.mark.parametrize(("rank", "ranks"), [("1", None), ("1", "1"), ("x", "2"), ("0", "many")])
def test_a_rank_of_no_launch_is_one_sentence(monkeypatch, rank, ranks):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if ranks:
        monkeypatch.setenv("WORLD_SIZE", ranks)
    with pytest.raises(ValueError, match="name no rank of any launch"):
        launched()
