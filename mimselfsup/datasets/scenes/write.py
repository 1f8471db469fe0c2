"""Writes a world of scenes to a folder, on all cores, so that an interrupted run is noticed."""

import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
from tqdm import tqdm

from .backgrounds import DrawnBackgrounds
from .compose import MIN_SIZE, SPLITS, BackgroundSource, ObjectSource, compose_scene
from .cutouts import CutoutObjects, PhotoBackgrounds
from .layouts import DEFAULT_LAYOUTS, LAYOUTS, OWNED, ObjectRecord, SceneRecord, World, encode_mask
from .semantic_layouts import MOST_CLASSES
from .sets import SETS, Source
from .shapes import DrawnObjects

MANIFEST = 'scenes.json'  # written last: its presence says that the world is complete
UNFINISHED = 'scenes.unfinished.json'  # written first, removed at the end
VERSION = 2  # to be raised when the same arguments begin to give other scenes
FORMATS = ('jpg', 'png')
_ENCODING = dict(jpg=[cv2.IMWRITE_JPEG_QUALITY, 95], png=[cv2.IMWRITE_PNG_COMPRESSION, 3])


def write_scenes(
    out: str | Path,
    num_train: int = 2000,
    num_val: int = 500,
    size: int = 128,
    classes: int | None = None,
    seed: int = 0,
    cutouts: str | Path | None = None,
    backgrounds: str | Path | None = None,
    num_objects: tuple[int, int] = (1, 1),
    workers: int | None = None,
    image_format: str = 'jpg',
    layouts: Sequence[str] = DEFAULT_LAYOUTS,
    quiet: bool = False,
    force: bool = False,
) -> bool:
    """Writes the world below ``out``; False if it is there already, complete and from the same arguments.

    Equal arguments give the same bytes whatever the number of workers (None: all cores). ``classes`` is 10
    for the drawn world and all folders of ``cutouts`` if None. The image folder is always written,
    ``layouts`` (of LAYOUTS and SETS) add to it. An unfinished world is started again. ``force`` replaces a complete
    one, and lets a world be written beside files of others; what a world does not own is never removed.

    Raises ValueError for arguments that do not fit, FileExistsError for an ``out`` that holds something else.
    """
    out = Path(out)
    _check(num_train, num_val, size, seed, num_objects, workers, image_format, layouts)
    objects: ObjectSource = DrawnObjects(10 if classes is None else classes)
    background_source: BackgroundSource = DrawnBackgrounds()
    say = (lambda text: None) if quiet else (lambda text: print(text, flush=True))
    if cutouts is not None:
        objects = CutoutObjects(cutouts, classes)
        say(f'{objects.num_files} cut-outs of {len(objects.classes)} classes{_left_out(objects.skipped)}')
    if backgrounds is not None:
        background_source = PhotoBackgrounds(backgrounds)
        say(f'{background_source.num_files} backgrounds{_left_out(background_source.skipped)}')
    counts = dict(train=num_train, val=num_val)
    for split, count in counts.items():
        if 0 < count < len(objects.classes):
            raise ValueError(
                f'num_{split}={count}, but there are {len(objects.classes)} classes; each needs a scene (or 0)'
            )
    labelled = [name for name in ('semantic', 'ade20k', 'cityscapes', 'voc') if name in layouts]
    if labelled and len(objects.classes) > MOST_CLASSES:
        raise ValueError(
            f'{len(objects.classes)} classes do not fit into the 8 bits of a label map; leave out '
            f'layouts={" ".join(labelled)} or set classes to at most {MOST_CLASSES}'
        )

    arguments = dict(
        version=VERSION,
        num_train=num_train,
        num_val=num_val,
        size=size,
        seed=seed,
        num_objects=list(num_objects),
        image_format=image_format,
        layouts=[name for name in (*LAYOUTS, *SETS) if name in {*layouts, 'folder'}],
        classes=objects.classes,
        **objects.description,
        **background_source.description,
    )
    if _complete(out, arguments, force):
        say(f'{out} is complete and was written with these arguments: nothing to do')
        return False
    _clear(out, force)
    _write_json(out / UNFINISHED, arguments)

    world = World(out, objects.classes, size)
    draw = partial(
        _draw_scene,
        world=world,
        objects=objects,
        backgrounds=background_source,
        num_objects=num_objects,
        seed=seed,
        image_format=image_format,
    )
    for split, name in ((split, name) for split in SPLITS if counts[split] for name in objects.classes):
        (out / split / name).mkdir(parents=True)
    jobs = [(split, index) for split in SPLITS for index in range(counts[split])]
    bar = tqdm(
        total=len(jobs),
        desc=f'scenes in {out}',
        unit='scene',
        disable=quiet,
        mininterval=0.2 if sys.stderr.isatty() else 10,  # seconds; a log file gets a line per ten of them
    )
    records: dict[str, list[SceneRecord]] = {split: [] for split in SPLITS}
    with bar:
        for (split, _), record in zip(jobs, _parallel(draw, jobs, workers), strict=True):
            records[split].append(record)
            bar.update()
    for name in arguments['layouts']:
        if name in SETS:
            say(f'{name} in {out / name}')
            (out / name).mkdir()
            SETS[name](out / name, Source(objects, background_source, size, seed, image_format))
            continue
        for split in SPLITS:
            if counts[split]:
                LAYOUTS[name](world, split, records[split])
    _write_json(out / MANIFEST, arguments)
    (out / UNFINISHED).unlink()
    return True


def _check(
    num_train: int,
    num_val: int,
    size: int,
    seed: int,
    num_objects: tuple[int, int],
    workers: int | None,
    image_format: str,
    layouts: Sequence[str],
) -> None:
    if num_train < 0 or num_val < 0 or num_train + num_val == 0:
        raise ValueError(f'num_train={num_train}, num_val={num_val}: neither may be negative, nor may both be 0')
    if size < MIN_SIZE:
        raise ValueError(f'size={size}, at least {MIN_SIZE} pixels are needed to tell the textures apart')
    if seed < 0:
        raise ValueError(f'seed={seed}, must be 0 or more')
    low, high = num_objects
    if not 1 <= low <= high:
        raise ValueError(f'objects={low} {high}, must be MIN MAX with 1 <= MIN <= MAX')
    if workers is not None and workers < 1:
        raise ValueError(f'workers={workers}, must be at least 1')
    if image_format not in FORMATS:
        raise ValueError(f'format={image_format!r}, must be one of {", ".join(FORMATS)}')
    if unknown := sorted(set(layouts) - {*LAYOUTS, *SETS}):
        raise ValueError(f'layouts={" ".join(unknown)}: unknown, there are {", ".join((*LAYOUTS, *SETS))}')


def _left_out(skipped: dict[str, int]) -> str:
    if not skipped:
        return ''
    return '; left out: ' + ', '.join(f'{count} {reason}' for reason, count in sorted(skipped.items()))


def _complete(out: Path, arguments: dict, force: bool) -> bool:
    """True if nothing is to be done. Raises FileExistsError if the folder holds another world."""
    if force or not (out / MANIFEST).is_file():
        return False
    try:
        written = json.loads((out / MANIFEST).read_text())
    except ValueError:
        written = {}
    differing = sorted(key for key in {*arguments, *written} if arguments.get(key) != written.get(key))
    if differing:
        changes = ', '.join(f'{key}: {written.get(key)} -> {arguments.get(key)}' for key in differing)
        raise FileExistsError(
            f'{out} holds a world of other arguments ({changes}); choose another folder or replace it with --force'
        )
    for split in SPLITS:
        expected = arguments[f'num_{split}']
        found = sum(1 for _ in (out / split).rglob(f'*.{arguments["image_format"]}'))
        if found != expected:
            raise FileExistsError(
                f'{out} was complete once, but {split}/ now holds {found} pictures of {expected}; write it '
                f'again with --force'
            )
    return True


def _clear(out: Path, force: bool) -> None:
    """Leaves ``out`` an existing folder without anything that a world owns."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f'{out} is a file, not a folder')
    out.mkdir(parents=True, exist_ok=True)
    ours = any((out / name).is_file() for name in (MANIFEST, UNFINISHED))
    there = sorted(path.name for path in out.iterdir())
    if there and not ours:
        clash = [name for name in there if name in (*OWNED, *SETS)]
        if clash:
            raise FileExistsError(
                f'{out} holds {", ".join(clash)} that this tool did not write, and would replace; choose another folder'
            )
        if not force:
            raise FileExistsError(
                f'{out} is not empty and was not written by this tool ({", ".join(there[:3])}'
                f'{", ..." if len(there) > 3 else ""}); choose another folder, or --force to write beside that'
            )
    if not ours:
        return
    # The mark stays until the end of the next run, so that an interruption here is noticed as well.
    if (out / MANIFEST).is_file():
        os.replace(out / MANIFEST, out / UNFINISHED)
    for name in (*OWNED, *SETS):
        path = out / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _write_json(path: Path, content: dict) -> None:
    part = path.with_name(f'{path.name}.part')
    part.write_text(json.dumps(content, indent=2) + '\n')
    os.replace(part, path)


def _draw_scene(
    job: tuple[str, int],
    world: World,
    objects: ObjectSource,
    backgrounds: BackgroundSource,
    num_objects: tuple[int, int],
    seed: int,
    image_format: str,
) -> SceneRecord:
    split, index = job
    scene = compose_scene(objects, backgrounds, split, index, world.size, num_objects, seed)
    name = f'{split}/{world.classes[scene.labels[0]]}/{index:06d}.{image_format}'
    bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
    (world.root / name).write_bytes(cv2.imencode(f'.{image_format}', bgr, _ENCODING[image_format])[1].tobytes())
    return SceneRecord(
        index,
        name,
        tuple(ObjectRecord(label, encode_mask(mask)) for label, mask in zip(scene.labels, scene.masks, strict=True)),
    )


# Set before the workers are forked, so that they inherit it: nothing is pickled or imported again per task.
_inherited: Callable | None = None


def _call_inherited(job: tuple[str, int]) -> SceneRecord:
    return _inherited(job)


def _parallel(function: Callable, jobs: list, workers: int | None) -> Iterator:
    """``map`` in order, on ``workers`` forked processes (None: as many as there are usable cores)."""
    global _inherited
    workers = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # its threads do not survive a fork, and the processes fill the cores already
    try:
        if workers == 1:
            yield from map(function, jobs)
            return
        _inherited = function
        with multiprocessing.get_context('fork').Pool(workers) as pool:
            yield from pool.imap(_call_inherited, jobs, chunksize=16)
    finally:
        _inherited = None
        cv2.setNumThreads(threads)
