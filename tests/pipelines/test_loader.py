"""The stream of batches: every row once with its own pixels and labels, on any ranks, resumable."""

from __future__ import annotations

import os
from collections import Counter
from itertools import islice

import numpy as np
import pyarrow.compute as pc
import pytest
import torch

from pipelines import Augment, batches, grouped
from shards import LabelIndex
from tests.pipelines.conftest import SIDE, damage, write

JITTER = Augment(brightness=0.3, contrast=0.3, saturation=0.5)
CROP = 56  # of the stored 64: no resize


def stream(selection, batch_size=14, **options):
    return batches(selection, batch_size, image_size=CROP, threads=2, **options)


def gathered(loaded):
    """Field by field, all batches of an epoch one after the other."""
    image, target, row, mask = (torch.cat(parts) for parts in zip(*loaded, strict=True))
    return image, target, row, mask


def test_rows_labels_and_pixels_belong_together(index):
    """A batch's image is the one its row has when it is read alone."""
    whole = batches(index.where(), 7, image_size=SIDE, shuffle=True, drop_last=False, threads=1)
    image, target, row, mask = gathered(whole)
    assert Counter(row[mask].tolist()) == Counter(range(len(index)))
    expected = index.where().targets()
    assert torch.equal(target, torch.from_numpy(expected)[row])
    for pixels, number in zip(image[::9], row[::9].tolist(), strict=True):
        alone = next(iter(batches(index.where().take([number]), 1, image_size=SIDE, threads=1)))
        assert torch.equal(pixels, alone.image[0])


@pytest.mark.parametrize("world_size", [1, 2, 4, 7])
@pytest.mark.parametrize("order", ["global", "blocks"])
def test_ranks_cover_each_row_once(index, world_size, order):
    selection = index.where()
    seen: Counter[int] = Counter()
    for rank in range(world_size):
        part = stream(
            selection, 28, rank=rank, world_size=world_size, order=order, shuffle=True,
            drop_last=False,
        )  # fmt: skip
        assert len(part) == 4
        for batch in part:
            assert len(batch.row) == 28 // world_size
            seen.update(batch.row[batch.mask].tolist())
        part.close()
    assert seen == Counter(range(len(index)))


def test_ranks_see_what_one_rank_sees(index):
    """Pixels included: the augmentation of a sample does not depend on who decodes it."""
    selection = index.where(split="train")
    whole = list(stream(selection, 14, augment=JITTER, seed=5))
    parts = [stream(selection, 14, augment=JITTER, seed=5, rank=r, world_size=2) for r in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        for field in range(4):
            assert torch.equal(batch[field], torch.cat([first[field], second[field]]))


@pytest.mark.parametrize(
    ("stop", "by"), [(1, "none"), (3, "expression"), (5, "none"), (6, "plane:4")]
)
def test_resuming_anywhere_gives_the_same_pixels(index, stop, by):
    selection = index.where(split="train")  # 80 rows: 5 batches of 14
    groups = grouped(selection, by)
    never_stopped = stream(selection, augment=JITTER, groups=groups)
    expected = [*never_stopped, *never_stopped]
    first = stream(selection, augment=JITTER, groups=groups)
    both = (batch for _ in range(2) for batch in first)
    list(islice(both, stop))
    state = first.state_dict()
    second = stream(selection, augment=JITTER, groups=grouped(selection, by))
    second.load_state_dict(state)
    resumed = [*second] if stop >= 5 else [*second, *second]
    assert len(resumed) == 10 - stop
    for batch, wanted in zip(resumed, expected[stop:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, wanted, strict=True))


def test_a_broken_off_epoch_goes_on(index):
    loader = stream(index.where(split="train"), augment=True)
    rows = [batch.row for batch in islice(loader, 2)]
    assert (loader.epoch, loader.step) == (0, 2)
    rows += [batch.row for batch in loader]
    assert (loader.epoch, loader.step) == (1, 0)
    assert len(torch.cat(rows).unique()) == 70


def test_epochs_differ_and_seeds_differ(index):
    selection = index.where(split="train")
    loader = stream(selection, augment=True)
    first, second = gathered(loader)[2], gathered(loader)[2]
    other = gathered(stream(selection, augment=True, seed=1))[2]
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


def test_batches_outlive_the_loader(index):
    """Images are handed over without a copy; their memory must not be used again."""
    loader = stream(index.where(split="train"), augment=True)
    kept = list(loader)
    copies = [batch.image.clone() for batch in kept]
    list(loader)
    loader.close()
    del loader
    assert all(torch.equal(batch.image, copy) for batch, copy in zip(kept, copies, strict=True))


def test_evaluation_pads_under_the_mask_in_tar_order(index):
    selection = index.where(split="val")  # 10 rows
    batch = next(iter(stream(selection)))
    assert batch.mask.tolist() == [True] * 10 + [False] * 4
    assert batch.row[:10].tolist() == selection.rows.tolist()
    assert batch.image.shape == (14, 3, CROP, CROP)


def test_a_class_target_is_int64(index):
    labelled = index.where(filter=pc.field("expression").is_valid())
    batch = next(iter(stream(labelled, targets="expression")))
    assert batch.target.dtype == torch.int64 and batch.target.shape == (14,)
    assert torch.equal(batch.target, torch.tensor(labelled.column("expression")[:14]).long())


def test_several_folders_are_one_stream(index, tmp_path):
    other = write(tmp_path / "other", range(100, 130))
    both = LabelIndex.open([*index.folders, *other.folders])
    _, target, row, mask = gathered(stream(both.where(), shuffle=True, drop_last=False))
    assert Counter(row[mask].tolist()) == Counter(range(120))
    assert torch.equal(target, torch.from_numpy(both.where().targets())[row])


def test_waiting_is_accounted_for(index):
    loader = stream(index.where(split="train"), augment=True)
    list(loader)
    assert loader.wait_s > 0


@pytest.mark.parametrize("change", [{"batch_size": 7}, {"seed": 1}, {"order": "blocks"}])
def test_a_state_of_another_stream_is_refused(index, change):
    selection = index.where(split="train")
    state = stream(selection, augment=True).state_dict()
    other = stream(selection, **{"augment": True, **change})
    with pytest.raises(ValueError, match=next(iter(change))):
        other.load_state_dict(state)
    with pytest.raises(ValueError, match="selection"):
        stream(index.where(), augment=True).load_state_dict(state)


def test_nulls_reach_no_batch(index):
    with pytest.raises(ValueError, match="10 of 90 selected rows have no expression"):
        stream(index.where(), targets="expression")


def test_impossible_options_are_refused(index):
    with pytest.raises(ValueError, match="on_corrupt 'ignore'"):
        stream(index.where(), on_corrupt="ignore")


# broken shards


@pytest.mark.parametrize("row", [17, 40])  # a JPEG, a PNG
def test_a_broken_image_is_named(own_index, row):
    name = damage(own_index, row, b"\0" * 400)
    with pytest.raises(ValueError, match="cannot be decoded") as caught:
        list(stream(own_index.where()))
    assert name in str(caught.value)


def test_a_broken_image_is_masked_and_counted(own_index):
    selection = own_index.where()
    whole = gathered(stream(selection, augment=JITTER, drop_last=False))
    broken = [17, 18, 40]
    names = [damage(own_index, row, b"\0" * 400) for row in broken]
    loader = stream(selection, augment=JITTER, drop_last=False, on_corrupt="skip")
    image, target, row, mask = gathered(loader)
    assert Counter(loader.corrupt) == Counter(names)
    lost = torch.isin(whole[2], torch.tensor(broken)) & whole[3]
    assert torch.equal(mask, whole[3] & ~lost)
    for field, kept in zip((image, target, row), whole, strict=False):
        assert torch.equal(field[mask], kept[mask])  # bit for bit what it would have been
    assert not set(row.tolist()) & set(broken)  # what stands in is another row, labels and all
    assert torch.equal(target, torch.from_numpy(selection.targets())[row])


def test_a_batch_of_broken_images_stops_even_when_skipping(own_index):
    for row in range(14):
        damage(own_index, row, b"\0" * 400)
    with pytest.raises(ValueError, match="face-013"):
        list(stream(own_index.where(), on_corrupt="skip"))


def test_another_tar_under_the_same_index_is_noticed(own_index):
    """DALI would read whatever lies there: KEY.row tells."""
    first = own_index.where().take([3])
    offset = int(first.column("shard_offset")[0])
    size = int(first.column("image_size")[0])
    damage(own_index, 3, (4).to_bytes(8, "little"), skip=-(-size // 512) * 512 + 512)
    with pytest.raises(ValueError, match=f"00000.tar:{offset}:face-003 holds KEY.row 4") as caught:
        list(stream(own_index.where()))
    assert "write the shards again" in str(caught.value)


def test_a_missing_tar_is_a_sentence(own_index):
    own_index.tars[1].unlink()
    with pytest.raises(FileNotFoundError, match=r"00001\.tar is missing"):
        stream(own_index.where())


def test_a_cut_tar_is_a_sentence(own_index):
    os.truncate(own_index.tars[1], 20_000)
    with pytest.raises(ValueError, match=r"00001\.tar has 20,000 bytes"):
        stream(own_index.where())


def test_a_tar_cut_while_training_is_named(own_index):
    loader = stream(own_index.where())
    os.truncate(own_index.tars[3], 2_000)
    with pytest.raises(ValueError, match=r"00003\.tar"):
        list(loader)


def test_null_labels_of_other_axes_do_not_matter(index):
    batch = next(iter(stream(index.where(), targets=("arousal",))))
    np.testing.assert_allclose(batch.target[:, 0], -np.arange(14) / 200, rtol=1e-6)


def test_a_checksum_finds_what_decodes_and_is_another_picture(own_index):
    last = len(own_index.read(17)) - 40
    whole = next(iter(stream(own_index.where().take([17]), 1, check="crc")))
    named = damage(own_index, 17, bytes([own_index.read(17)[last] ^ 1]), skip=last)
    selection = own_index.where().take(list(range(15, 20)))
    other = next(iter(stream(selection, 5)))
    assert other.mask.all() and not torch.equal(other.image[2], whole.image[0])
    with pytest.raises(ValueError, match=r"00000\.tar:\d+:face-017"):
        list(stream(selection, 5, check="crc"))
    loader = stream(selection, 5, check="crc", on_corrupt="skip")
    (batch,) = loader
    assert loader.corrupt == [named] and batch.row[batch.mask].tolist() == [15, 16, 18, 19]
