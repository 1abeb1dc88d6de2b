"""A checkpoint gives back exactly what it was given, and is whole or not there."""

from __future__ import annotations

import itertools
import json
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from avce.durable import write_aside
from avce.method.pretrained import read_tensors
from avce.training.checkpoint import (
    Checkpoint,
    as_safetensors,
    checkpoints,
    get_rng,
    load_checkpoint,
    load_optimizers,
    newest_checkpoint,
    optimizer_settings,
    optimizer_tensors,
    prune,
    read_safetensors,
    save_checkpoint,
    set_rng,
    step_of,
)
from tests.devices import DEVICES

CPU = torch.device("cpu")


def content(step: int, size: int = 4) -> Checkpoint:
    return Checkpoint({"w": torch.full((size,), float(step))}, {}, get_rng(CPU), {"step": step})


@pytest.mark.parametrize("device", DEVICES)
def test_generators_go_on_where_they_stood(device):
    def draws() -> list[float]:
        return [torch.rand(1, device=each).item() for each in ("cpu", device)]

    draws()
    state = get_rng(torch.device(device))
    expected = [draws(), draws()]
    draws()
    set_rng(state, torch.device(device))
    assert [draws(), draws()] == expected


def test_the_generators_of_the_second_rank_go_on_too():
    """Its row is a view with an offset, which torch misreads."""
    states = torch.stack([torch.get_rng_state(), torch.Generator().manual_seed(7).get_state()])
    set_rng({"torch": states[1]}, CPU)
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(7)))


@pytest.mark.parametrize("device", DEVICES)
def test_optimizers_come_back_bit_for_bit(tmp_path, device):
    def networks():
        torch.manual_seed(0)
        return {"a": torch.nn.Linear(3, 2).to(device), "b": torch.nn.Linear(2, 1).to(device)}

    def optimizers(nets):
        adam = torch.optim.Adam(nets["a"].parameters(), 1e-3, (0.5, 0.9))
        return {"a": adam, "b": torch.optim.SGD(nets["b"].parameters(), 1e-2, 0.9)}

    def train(nets, opts):
        nets["b"](nets["a"](torch.ones(1, 3, device=device))).sum().backward()
        for optimizer in opts.values():
            optimizer.step()
            optimizer.zero_grad()

    nets = networks()
    opts = optimizers(nets)
    train(nets, opts)
    state = {"step": 1, "settings": optimizer_settings(opts)}
    saved = save_checkpoint(tmp_path, Checkpoint({}, optimizer_tensors(opts), {}, state), keep=1)

    twins = networks()
    for name, net in nets.items():
        twins[name].load_state_dict(net.state_dict())
    twin_opts = optimizers(twins)
    read = load_checkpoint(saved)
    load_optimizers(twin_opts, read.optimizers, read.state["settings"])
    train(nets, opts)
    train(twins, twin_opts)
    for name, net in nets.items():
        assert torch.equal(net.weight, twins[name].weight)
        assert torch.equal(net.bias, twins[name].bias)
    with pytest.raises(ValueError, match="optimizers"):
        load_optimizers({"a": twin_opts["a"]}, read.optimizers, read.state["settings"])


def test_only_the_newest_are_kept_and_rubbish_goes(tmp_path):
    (tmp_path / "step-00000009.part").mkdir()
    for step in (1, 2, 30):
        save_checkpoint(tmp_path, content(step), keep=2)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step-00000002", "step-00000030"]
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert load_checkpoint(newest).state == {"step": 30}
    assert newest_checkpoint(tmp_path / "nothing") is None


def test_a_damaged_file_is_named(tmp_path):
    path = save_checkpoint(tmp_path, content(1), keep=1)
    (path / "weights.safetensors").write_bytes(b"not one")
    with pytest.raises(ValueError, match=r"weights\.safetensors is not a readable"):
        load_checkpoint(path)


def damaged(folder: Path) -> list[tuple[str, bytes]]:
    """Each file of a checkpoint with one bit of it turned, in each tenth, and cut at half."""
    found = []
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        for place in range(0, len(content), max(1, len(content) // 10)):
            turned = bytes([content[place] ^ 4])
            found.append((file.name, content[:place] + turned + content[place + 1 :]))
        found.append((file.name, content[: len(content) // 2]))
    return found


def test_any_change_of_a_checkpoint_is_refused(tmp_path):
    path = save_checkpoint(tmp_path, content(1), keep=1)
    assert load_checkpoint(path).state == {"step": 1}
    other = save_checkpoint(tmp_path / "other", content(2), keep=1)
    swapped = [(f.name, f.read_bytes()) for f in other.iterdir() if f.name[:3] != "rng"]
    cases = [*damaged(path), *((n, c) for n, c in swapped if c != (path / n).read_bytes())]
    for name, wrong in cases:
        before = (path / name).read_bytes()
        (path / name).write_bytes(wrong)
        if name == "optimizers.safetensors" and wrong == before:
            continue
        with pytest.raises(ValueError, match=str(path)) as error:
            load_checkpoint(path)
        assert "\n" not in str(error.value), name
        (path / name).write_bytes(before)
    assert len(cases) > 50 and load_checkpoint(path).state == {"step": 1}


def test_any_change_of_saved_weights_is_refused(tmp_path):
    path = tmp_path / "best.safetensors"
    path.write_bytes(as_safetensors({"w": torch.arange(6.0)}, step=3, config="{}"))
    assert step_of(path) == 3 and torch.equal(read_safetensors(path)["w"], torch.arange(6.0))
    sound = path.read_bytes()
    for place, bit in itertools.product(range(len(sound)), range(8)):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1 << bit]) + sound[place + 1 :])
        with pytest.raises(ValueError, match=r"best\.safetensors"):
            read_safetensors(path)
        assert step_of(path) is None
    assert step_of(tmp_path / "nothing") is None


def test_weights_are_read_from_a_folder_of_any_name(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    path = folder / "best.safetensors"
    path.write_bytes(as_safetensors({"w": torch.arange(6.0)}, step=3))
    assert step_of(path) == 3 and torch.equal(read_safetensors(path)["w"], torch.arange(6.0))
    assert torch.equal(read_tensors(path)["w"], torch.arange(6.0))


def test_what_was_killed_while_pruning_is_no_checkpoint(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, content(step), keep=9)
    (tmp_path / "step-00000001").rename(tmp_path / "step-00000001.part")
    (tmp_path / "step-00000001.part" / "rng.safetensors").unlink()
    assert [p.name for p in checkpoints(tmp_path)] == ["step-00000002", "step-00000003"]
    prune(tmp_path, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000003"]


def test_write_aside_leaves_the_old_file_when_it_fails(tmp_path):
    write_aside(tmp_path / "a.json", b"old")
    (tmp_path / "a.json.part").mkdir()  # nothing can be written there
    with pytest.raises(OSError):
        write_aside(tmp_path / "b" / "a.json", b"new")
    assert (tmp_path / "a.json").read_bytes() == b"old"


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path):
    script = """
        import resource, sys
        from pathlib import Path
        import torch
        from avce.training.checkpoint import Checkpoint, save_checkpoint
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        folder = Path(sys.argv[1])
        for step, size in ((1, 100), (2, 1_000_000)):
            content = Checkpoint({"w": torch.zeros(size)}, {}, {}, {"step": step})
            try:
                save_checkpoint(folder, content, keep=1)
            except OSError as error:
                print(error.strerror)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    root = Path(__file__).parents[3]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    good = tmp_path / "step-00000001"
    assert f"the last good checkpoint is {good}" in result.stdout
    assert checkpoints(tmp_path) == list(tmp_path.iterdir()) == [good]
    assert json.loads((good / "state.json").read_text()) == {"step": 1}
    assert resource.RLIMIT_FSIZE  # the limit of this process was never touched
