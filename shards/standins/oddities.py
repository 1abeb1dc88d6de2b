"""What is odd about the true releases, as switches: each alters a finished tree in its layout.

The first sentence of each docstring says what becomes of it; the tests hold the readers to it.
`HARMLESS` oddities are read around, the others (`STOPPING`) must stop a run with a sentence.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Oddity = Callable[[Path], None]
HARMLESS: dict[str, dict[str, Oddity]] = {}
STOPPING: dict[str, dict[str, Oddity]] = {}


def check_oddities(dataset: str, names: Sequence[str]) -> None:
    """Raise ValueError, listing the choices, for an oddity that `dataset` does not have.

    "all" stands for every harmless one.
    """
    known = ["all", *oddities_of(dataset)]
    for name in names:
        if name not in known:
            raise ValueError(f"oddity {name!r} of {dataset} is none of {', '.join(known)}")


def oddities_of(dataset: str) -> dict[str, Oddity]:
    """Every oddity of a data set by name."""
    return {**HARMLESS.get(dataset, {}), **STOPPING.get(dataset, {})}


def apply_oddities(root: Path, dataset: str, names: Sequence[str]) -> None:
    """Alter the tree at `root`, in the order of this file: contents before names of folders."""
    for name, oddity in oddities_of(dataset).items():
        if name in names or ("all" in names and name in HARMLESS[dataset]):
            oddity(root)


def register(dataset: str, *, stops: bool = False) -> Callable[[Oddity], Oddity]:
    """Decorate a function that alters a tree: its name is the switch."""

    def register(oddity: Oddity) -> Oddity:
        kind = STOPPING if stops else HARMLESS
        kind.setdefault(dataset, {})[oddity.__name__.removeprefix("_")] = oddity
        return oddity

    return register


def _edit(path: Path, change: Callable[[list[str]], Iterable[str]], end: str = "\n") -> None:
    """Replace the lines of a text file."""
    lines = list(change(path.read_text(encoding="utf-8").splitlines()))
    path.write_text("\n".join(lines) + end, encoding="utf-8", newline="\n")


def _first(folder: Path, pattern: str) -> Path:
    return min(folder.glob(pattern))


# ---------------------------------------------------------------- Aff-Wild

_aff_wild = register("affwild")
_aff_wild_stops = register("affwild", stops=True)


def _axes(root: Path) -> list[Path]:
    """Both label files of the first video."""
    name = _first(root, "annotations/train/valence/*.txt").name
    return [root / "annotations" / "train" / axis / name for axis in ("valence", "arousal")]


def _points(root: Path, number: int) -> list[Path]:
    """Box and landmarks of one frame of the first video."""
    name = _axes(root)[0].stem
    return [root / kind / "train" / name / f"{number}.pts" for kind in ("bboxes", "landmarks")]


@_aff_wild
def _missing_pts(root: Path) -> None:
    """No face was found in a frame: it is kept without box and landmarks."""
    for path in _points(root, 3):
        path.unlink()


@_aff_wild
def _cut_pts(root: Path) -> None:
    """A box file is cut: the frame is kept without box and marked bbox_unreadable."""
    path = _points(root, 4)[0]
    path.write_text(path.read_text()[:30])


@_aff_wild
def _two_spaces(root: Path) -> None:
    """Points with two spaces between x and y are read."""
    for path in _points(root, 5):
        path.write_text(path.read_text().replace(" ", "  "))


@_aff_wild
def _zero_based(root: Path) -> None:
    """Points are numbered from 0 in all videos; the first frame of the first has none."""
    for folder in (*root.glob("bboxes/train/*"), *root.glob("landmarks/train/*")):
        for path in sorted(folder.glob("*.pts"), key=lambda path: int(path.stem)):
            path.rename(path.with_name(f"{int(path.stem) - 1}.pts"))
    for path in _points(root, 0):
        path.unlink()


@_aff_wild
def _one_label_more(root: Path) -> None:
    """Labels outlast the video by one frame: the last label is left out and listed."""
    for path in _axes(root):
        _edit(path, lambda lines: [*lines, lines[-1]])


@_aff_wild
def _one_label_less(root: Path) -> None:
    """The video outlasts its labels by one frame: the last frame is left out and listed."""
    for path in _axes(root):
        _edit(path, lambda lines: lines[:-1])


@_aff_wild
def _no_final_newline(root: Path) -> None:
    """A label file ends without a newline: nothing is lost."""
    for path in _axes(root):
        _edit(path, lambda lines: lines, end="")


@_aff_wild
def _unannotated_video(root: Path) -> None:
    """A training video has no labels: it is skipped and listed (the other videos are kept)."""
    video = _first(root, "videos/train/*")
    shutil.copy(video, video.with_stem("449"))


@_aff_wild
def _bboxs(root: Path) -> None:
    """The folder of boxes is spelled bboxs: it is found."""
    (root / "bboxes").rename(root / "bboxs")


@_aff_wild
def _nested(root: Path) -> None:
    """Inner archives made a second folder `train`: it is found."""
    for kind in ("videos", "landmarks"):
        (root / kind / "train").rename(root / kind / "inner")
        (root / kind / "train").mkdir()
        (root / kind / "inner").rename(root / kind / "train" / "train")


@_aff_wild_stops
def _many_labels_more(root: Path) -> None:
    """Labels outlast the video by five frames: the video is named, since labels have shifted."""
    for path in _axes(root):
        _edit(path, lambda lines: lines + lines[:5])


@_aff_wild_stops
def _unequal_axes(root: Path) -> None:
    """Valence and arousal differ in length: the video is named."""
    _edit(_axes(root)[1], lambda lines: lines[:-1])


@_aff_wild_stops
def _out_of_range(root: Path) -> None:
    """A label of 1.5: file and line are named, nothing is clipped."""
    _edit(_axes(root)[0], lambda lines: [lines[0], "1.5", *lines[2:]])


@_aff_wild_stops
def _not_a_number(root: Path) -> None:
    """A header line, or any text: file and line are named."""
    _edit(_axes(root)[0], lambda lines: ["valence", *lines])


@_aff_wild_stops
def _missing_video(root: Path) -> None:
    """A video is missing: it is named."""
    _first(root, "videos/train/*").unlink()


@_aff_wild_stops
def _cut_video(root: Path) -> None:
    """A video ends early: it is named with both lengths."""
    path = _first(root, "videos/train/*.avi")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@_aff_wild_stops
def _unreadable_video(root: Path) -> None:
    """A video cannot be opened: it is named."""
    _first(root, "videos/train/*").write_bytes(b"no video")


@_aff_wild_stops
def _points_beyond(root: Path) -> None:
    """A box belongs to no frame: the numbering is another, and the file is named."""
    path = _points(root, 1)[0]
    shutil.copy(path, path.with_name("9999.pts"))


@_aff_wild_stops
def _train_in_test(root: Path) -> None:
    """One id lies in train and in test: it is named."""
    video = _first(root, "videos/train/*")
    shutil.copy(video, root / "videos" / "test" / video.name)


# ---------------------------------------------------------------- Aff-Wild2

_aff_wild2 = register("affwild2")
_aff_wild2_stops = register("affwild2", stops=True)


def _table(root: Path, task: str = "VA") -> Path:
    """The first training label file of a task."""
    return _first(root, f"*/{task}_*/Train*/*.txt")


def _crops(root: Path) -> Path:
    return _first(root, "cropped_aligned/*")


@_aff_wild2
def _rows_one_more(root: Path) -> None:
    """Rows are frames + 1, as in most files: the row beyond the last image is listed."""
    _edit(_table(root), lambda lines: [*lines, "0.5,0.5"])


@_aff_wild2
def _half_null(root: Path) -> None:
    """Only valence is -5: both are null and both raw values kept."""
    _edit(_table(root), lambda lines: [lines[0], "-5,0.5", *lines[2:]])


@_aff_wild2
def _spaced_header(root: Path) -> None:
    """The header has capitals and spaces: it is the same header."""
    _edit(_table(root), lambda lines: ["Valence, Arousal ", *lines[1:]], end="")


@_aff_wild2
def _stray_files(root: Path) -> None:
    """.DS_Store and Thumbs.db are passed over; a file that is no frame is listed."""
    for name in (".DS_Store", "Thumbs.db", "preview.gif"):
        (_crops(root) / name).write_bytes(b"stray")


@_aff_wild2
def _zero_frame(root: Path) -> None:
    """A crop numbered 0 belongs to no row: it is listed, not paired with the last row."""
    shutil.copy(_first(_crops(root), "*.jpg"), _crops(root) / "00000.jpg")


@_aff_wild2
def _crop_beyond(root: Path) -> None:
    """A crop beyond the last row is listed."""
    shutil.copy(_first(_crops(root), "*.jpg"), _crops(root) / "99999.jpg")


@_aff_wild2
def _missing_crops(root: Path) -> None:
    """A label file has no folder of crops: it is listed and the others are read."""
    shutil.rmtree(_crops(root))


@_aff_wild2
def _other_split_by_task(root: Path) -> None:
    """A VA training video is a validation video of EXPR: both are recorded."""
    path = _table(root, "EXPR")
    path.rename(path.parent.parent / "Validation_Set" / path.name)


@_aff_wild2
def _other_units(root: Path) -> None:
    """The eight action units of the first challenge: left null, with a warning."""
    for path in root.glob("*/AU_*/*/*.txt"):
        _edit(path, lambda lines: ["AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25", *lines[1:]])


@_aff_wild2
def _mtl(root: Path) -> None:
    """EXPR and AU come as one MTL file a split: rows are found by person and frame."""
    (annotations,) = root.glob("*ABAW*")
    for part, name in (("Train_Set", "train_set"), ("Validation_Set", "validation_set")):
        lines = ["image,valence,arousal,expression,aus"]
        for path in sorted(annotations.glob(f"VA_*/{part}/*.txt")):
            rows = path.read_text().splitlines()[1:]
            units = ",".join(["-1"] * 12)
            lines += [f"{path.stem}/{n:05d}.jpg,{row},4,{units}" for n, row in enumerate(rows, 1)]
        target = annotations / "MTL_Challenge" / part / f"{name}.txt"
        target.parent.mkdir(parents=True)
        target.write_text("\n".join(lines) + "\n")
    for task in ("EXPR_Classification_Challenge", "AU_Detection_Challenge"):
        shutil.rmtree(annotations / task)


@_aff_wild2
def _nested_crops(root: Path) -> None:
    """Archives unpacked into cropped_aligned/cropped_aligned and .../cropped_aligned_new_50_vids:
    both are found."""
    folder = root / "cropped_aligned"
    persons = sorted(folder.iterdir())
    for inner, some in (
        ("cropped_aligned", persons[1:]),
        ("cropped_aligned_new_50_vids", persons[:1]),
    ):
        (folder / inner).mkdir()
        for person in some:
            person.rename(folder / inner / person.name)


@_aff_wild2_stops
def _no_header(root: Path) -> None:
    """A file without its header would shift every label: it is named."""
    _edit(_table(root), lambda lines: lines[1:])


@_aff_wild2_stops
def _va_out_of_range(root: Path) -> None:
    """A label of -2: file and line are named."""
    _edit(_table(root), lambda lines: [lines[0], "-2,0.1", *lines[2:]])


@_aff_wild2_stops
def _cut_row(root: Path) -> None:
    """The last row is cut in the middle: file and line are named."""
    _edit(_table(root), lambda lines: [*lines[:-1], "0.12"])


@_aff_wild2_stops
def _unknown_code(root: Path) -> None:
    """Expression 8 does not exist: file and line are named."""
    _edit(_table(root, "EXPR"), lambda lines: [lines[0], "8", *lines[2:]])


@_aff_wild2_stops
def _both_splits(root: Path) -> None:
    """The second person of a training video is in validation: the video is named."""
    right = _first(root, "*/VA_*/Train_Set/*_right.txt")
    right.rename(right.parent.parent / "Validation_Set" / right.name)


@_aff_wild2_stops
def _two_releases(root: Path) -> None:
    """Annotations of two years lie side by side: both folders are named."""
    shutil.copytree(root / "5th_ABAW_Annotations", root / "6th ABAW Annotations")


@_aff_wild2_stops
def _person_twice(root: Path) -> None:
    """A person's crops lie in two folders: both are named."""
    shutil.copytree(_crops(root), root / "cropped_aligned_new_50_vids" / _crops(root).name)


# ---------------------------------------------------------------- AFEW-VA

_afew_va = register("afew_va")
_afew_va_stops = register("afew_va", stops=True)


def _clip_json(root: Path) -> Path:
    return _first(root, "001/001.json")


def _edit_clip(root: Path, change: Callable[[dict], object]) -> None:
    path = _clip_json(root)
    clip = json.loads(path.read_text())
    change(clip)
    path.write_text(json.dumps(clip))


@_afew_va
def _float_labels(root: Path) -> None:
    """Labels are written as 3.0 beside a key `emotion`: they are the same labels."""

    def change(clip: dict) -> None:
        for frame in clip["frames"].values():
            frame |= {"valence": float(frame["valence"]), "emotion": "none"}

    _edit_clip(root, change)


@_afew_va
def _spelled_actor(root: Path) -> None:
    """The actor has other capitals and spaces around: it is the same group."""
    _edit_clip(root, lambda clip: clip.update(actor=f"  {clip['actor'].upper()} "))


@_afew_va
def _no_actor(root: Path) -> None:
    """No actor is named: the clip is a group of its own, with a warning."""
    _edit_clip(root, lambda clip: clip.update(actor=" "))


@_afew_va
def _other_video_id(root: Path) -> None:
    """video_id is not the folder: the folder counts, with a warning."""
    _edit_clip(root, lambda clip: clip.update(video_id="777"))


@_afew_va
def _late_start(root: Path) -> None:
    """Frames begin at 7: numbers are kept as they are."""

    def change(clip: dict) -> None:
        frames = clip["frames"]
        for key in sorted(frames, reverse=True):
            frames[f"{int(key) + 7:05d}"] = frames.pop(key)
            path = root / "001" / f"{key}.png"
            path.rename(path.with_stem(f"{int(key) + 7:05d}"))

    _edit_clip(root, change)


@_afew_va
def _archive_folders(root: Path) -> None:
    """Clips lie in the folders of their archives (01..12): they are found."""
    for clip in sorted(root.glob("[0-9][0-9][0-9]")):
        archive = root / f"{1 + (int(clip.name) - 1) // 50:02d}"
        archive.mkdir(exist_ok=True)
        clip.rename(archive / clip.name)


@_afew_va_stops
def _missing_png(root: Path) -> None:
    """A labelled frame has no image: the clip is named."""
    (root / "001" / "00001.png").unlink()


@_afew_va_stops
def _unlabelled_png(root: Path) -> None:
    """An image has no labels: the clip is named."""
    _edit_clip(root, lambda clip: clip["frames"].pop("00001"))


@_afew_va_stops
def _label_of_11(root: Path) -> None:
    """A label beyond 10: file and frame are named."""
    _edit_clip(root, lambda clip: clip["frames"]["00001"].update(valence=11))


@_afew_va_stops
def _scaled_labels(root: Path) -> None:
    """Labels were divided by ten already: file and frame are named."""
    _edit_clip(root, lambda clip: clip["frames"]["00001"].update(valence=0.3))


@_afew_va_stops
def _67_points(root: Path) -> None:
    """A landmark is missing: file and frame are named."""
    _edit_clip(root, lambda clip: clip["frames"]["00001"]["landmarks"].pop())


@_afew_va_stops
def _cut_json(root: Path) -> None:
    """A JSON file is cut: it is named."""
    path = _clip_json(root)
    path.write_text(path.read_text()[:200])


@_afew_va_stops
def _jpeg_copy(root: Path) -> None:
    """Frames are JPEG: a copy from the web, refused with the reason."""
    for path in root.glob("*/*.png"):
        path.rename(path.with_suffix(".jpg"))


@_afew_va_stops
def _cropped_copy(root: Path) -> None:
    """A folder of cropped frames: a copy from the web, refused with the reason."""
    shutil.copytree(root / "001", root / "AFEW-VA_cropped" / "001")


@_afew_va_stops
def _clip_twice(root: Path) -> None:
    """A clip lies both flat and in an archive's folder: it is named."""
    shutil.copytree(root / "001", root / "01" / "001")


# ---------------------------------------------------------------- RAF-DB

_raf_db = register("raf_db")
_raf_db_stops = register("raf_db", stops=True)


def _list(root: Path) -> Path:
    return root / "basic" / "EmoLabel" / "list_patition_label.txt"


@_raf_db
def _final_newline(root: Path) -> None:
    """Someone's editor ended the list with newlines: no line more."""
    _edit(_list(root), lambda lines: lines, end="\n\n")


@_raf_db
def _spelled_list(root: Path) -> None:
    """The list was renamed to the right spelling: it is read, with a warning."""
    _list(root).rename(_list(root).with_name("list_partition_label.txt"))


@_raf_db
def _five_digits(root: Path) -> None:
    """Test images are padded to five digits: they are found and marked padding_fixed."""
    for path in root.glob("basic/Image/*/test_*.jpg"):
        path.rename(path.with_name(path.name.replace("test_", "test_0")))


@_raf_db
def _plain_names(root: Path) -> None:
    """Aligned images carry the names of the originals: they are found."""
    for path in root.glob("basic/Image/aligned/*.jpg"):
        path.rename(path.with_name(path.name.replace("_aligned", "")))


@_raf_db
def _no_annotations(root: Path) -> None:
    """Annotation files are missing: box, points and attributes are null."""
    shutil.rmtree(root / "basic" / "Annotation")


@_raf_db
def _unlisted_image(root: Path) -> None:
    """An image is in no line (an augmented copy): it is left out and listed."""
    path = _first(root, "basic/Image/aligned/test_*.jpg")
    shutil.copy(path, path.with_name(f"augmented_{path.name}"))


@_raf_db
def _other_size(root: Path) -> None:
    """Aligned images are not 100 x 100: a warning, since re-aligned copies do not compare."""
    for path in root.glob("basic/Image/aligned/*.jpg"):
        with Image.open(path) as image:
            image.resize((112, 112)).save(path)


@_raf_db_stops
def _missing_image(root: Path) -> None:
    """A listed image is missing: it is named."""
    _first(root, "basic/Image/aligned/*.jpg").unlink()


@_raf_db_stops
def _detected_faces(root: Path) -> None:
    """The list is shorter than published (what a face detector found): the counts are named."""
    _edit(_list(root), lambda lines: lines[:-3], end="")


@_raf_db_stops
def _tabs(root: Path) -> None:
    """A list with tabs is user-made: the line is named."""
    _edit(_list(root), lambda lines: (line.replace(" ", "\t") for line in lines), end="")


@_raf_db_stops
def _codes_from_0(root: Path) -> None:
    """Codes 0..6 are user-made: the first line with 0 is named."""
    _edit(_list(root), lambda lines: (f"{line[:-1]}{int(line[-1]) - 1}" for line in lines), end="")


@_raf_db_stops
def _line_twice(root: Path) -> None:
    """An image is listed twice: it is named."""
    _edit(_list(root), lambda lines: [*lines, lines[0]], end="")


@_raf_db_stops
def _class_folders(root: Path) -> None:
    """Folders train/1..7 are a copy from the web: refused with the reason."""
    shutil.rmtree(root / "basic")
    for code in range(1, 8):
        (root / "DATASET" / "train" / str(code)).mkdir(parents=True)


# ---------------------------------------------------------------- AffectNet 2021

_affectnet = register("affectnet")
_affectnet_stops = register("affectnet", stops=True)


@_affectnet
def _float_arrays(root: Path) -> None:
    """Labels are arrays of numbers instead of text: they are the same labels."""
    for path in root.glob("*/annotations/*_val.npy"):
        np.save(path, np.array(float(np.load(path).item())))


@_affectnet
def _nested_train(root: Path) -> None:
    """The archive unpacked into train_set/train_set: it is found."""
    (root / "train_set").rename(root / "inner")
    (root / "train_set").mkdir()
    (root / "inner").rename(root / "train_set" / "train_set")


@_affectnet
def _valid_set(root: Path) -> None:
    """The validation folder was renamed to valid_set: it is found."""
    (root / "val_set").rename(root / "valid_set")


@_affectnet_stops
def _missing_npy(root: Path) -> None:
    """An image has three of its four files: it is named."""
    _first(root, "train_set/annotations/*_aro.npy").unlink()


@_affectnet_stops
def _class_8(root: Path) -> None:
    """Class 8 is not in this release: the file is named."""
    np.save(_first(root, "train_set/annotations/*_exp.npy"), np.array("8"))
