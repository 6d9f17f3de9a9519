"""Where a data set is, and what reads it: by a path of the user's, by a known name, or a stand-in."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from trainables.cache import cache_folder
from trainables.datasets import known
from trainables.datasets.archives import is_archive, unpacked
from trainables.datasets.array_files import SUFFIXES as ARRAYS
from trainables.datasets.arrays import array_file, array_folder, array_parts, lone_arrays, meaning
from trainables.datasets.files import TABLES, shown
from trainables.datasets.folders import count_pictures, has_train, picture_folder
from trainables.datasets.generated import GENERATED
from trainables.datasets.idx_files import idx_folder
from trainables.datasets.known import KNOWN, SUBSETS
from trainables.datasets.layout import part_named
from trainables.datasets.parquet import parquet_files
from trainables.datasets.pixel_table import is_pixel_table, pixel_tables
from trainables.datasets.source import DataError, Reading, Source, counted, listed

READ = (
    "an image folder (train/<class>/… or <class>/…), pictures beside a table of labels, .npz, .npy, .pt or "
    ".safetensors arrays, a CSV of pixels, IDX, Parquet, or a zip or tar of these"
)


def names() -> list[str]:
    """The data sets that are known by name."""
    return sorted([*KNOWN, *SUBSETS, *GENERATED])


def file_of(name: str) -> str:
    """The file that holds the public data set `name`: a subset has that of the whole."""
    return f"{SUBSETS[name][0] if name in SUBSETS else name}.npz"


def find(
    name: str,
    data: Path | None = None,
    *,
    warn: Callable[[str], None] = lambda text: None,
    download: bool = True,
    reading: Reading | None = None,
) -> Source:
    """Where data set `name` comes from: `data`, `SEARCH_DATA_DIR`, the cache, the network, else a stand-in.

    `data` is what `READ` says, or a folder with the files of known sets: `<name>.npz` or torchvision's layout. It is
    read now, as `reading` says, so that what is wrong with it shows before a search. `warn` hears what the user must
    know of a known set. Without `download` nothing is fetched: a set that a server offers is `missing` then. Raises
    DataError for data that was named and cannot be used, and for a torchvision that does not fit torch.
    """
    reading = reading or Reading()
    if data is not None:
        if not os.path.lexists(data):
            raise DataError(f"no data at {shown(str(data))}; give an .npz file, an image folder, or leave --data out")
        return _given(name, data, reading)
    if name in GENERATED:
        return GENERATED[name]()
    if name in SUBSETS:
        return known.subset(name, find(SUBSETS[name][0], warn=warn, download=download, reading=reading))
    if name not in KNOWN:
        raise DataError(f"unknown data set {name!r}; known are {', '.join(names())}, or give --data PATH")
    there = os.environ.get("SEARCH_DATA_DIR")
    if there:
        if not Path(there).is_dir():
            warn(f"SEARCH_DATA_DIR={there} is no folder")
        found = _known_in(name, Path(there), reading)
        if found:
            return found
        warn(_lacks(name, Path(there)))
    cache = cache_folder()
    if (cache / f"{name}.npz").is_file():
        return array_file(cache / f"{name}.npz", reading, KNOWN[name].classes, name)
    try:
        with known.patience():
            if download:
                return known.torchvision(name, cache, download=True)
            return known.offered(name, lambda: _known_in(name, cache, reading))
    except DataError:
        raise
    except Exception as error:  # torchvision raises RuntimeError, URLError, OSError and others
        warn(f"{name} could not be downloaded ({known.one_line(error)})")
    return known.stand_in(name)


def _given(name: str, path: Path, reading: Reading) -> Source:
    """The data at `path`, which the user has named. Raises DataError."""
    if path.is_file():
        return _file(name, path, reading)
    if not path.is_dir():
        raise DataError(f"{shown(str(path))} is no file and no folder but a pipe, a device or a broken link")
    whole = SUBSETS[name][0] if name in SUBSETS else name
    in_train = has_train(path)
    if not in_train and whole in KNOWN:
        found = _known_in(whole, path, reading)
        if found:
            return known.subset(name, found) if name in SUBSETS else found
    found = _folder(path.resolve().name or "data", path, reading, shown(str(path)))
    if found:
        return found
    if name in GENERATED:
        raise DataError(f"{shown(str(path))} is no image folder and no .npz; leave --data out for {name}")
    if whole in KNOWN:
        raise DataError(f"{_lacks(whole, path)}, and is not {READ}; put one there, or leave --data out")
    raise DataError(f"{shown(str(path))} is not {READ}")


def _file(name: str, path: Path, reading: Reading) -> Source:
    suffix = path.suffix.casefold()
    own, where = path.name.split(".")[0] or "data", shown(str(path))
    found: Source | None
    if suffix in ARRAYS:
        found = array_file(path, reading)
        others = [] if part_named(path.stem) is None or suffix == ".npy" else path.parent.glob(f"*{path.suffix}")
        return _with_note_of_others(found, [each for each in others if each != path and part_named(each.stem)])
    if is_archive(path):
        folder = unpacked(path, reading)
        found = _folder(own, folder, reading, where)
        if found is None:
            raise DataError(f"{where} holds nothing that is read: {READ}")
        return replace(found, where=where)
    if suffix == ".parquet":
        found = parquet_files(own, where, path.parent, [path], reading)
        return _with_note_of_others(found, [each for each in path.parent.glob("*.parquet") if each != path])
    if suffix in TABLES:
        if suffix != ".jsonl" and is_pixel_table(path):
            found = pixel_tables(own, where, [path], reading)
            others = [each for each in path.parent.glob(f"*{path.suffix}") if each != path and is_pixel_table(each)]
            return _with_note_of_others(found, others)
        found = picture_folder(own, path.parent, reading, where)
        if found is not None:
            return found
        raise DataError(f"{where} is no table of pixels, and names no pictures beside it")
    if "idx" in path.name and (found := idx_folder(path.parent.name, path.parent, reading)):
        return found
    raise DataError(f"{where} is not {READ}")


def _with_note_of_others(found: Source, others: Sequence[Path]) -> Source:
    """`found`, with a note of the files beside its own that may be its other parts."""
    if not others:
        return found
    names = listed([shown(each.name) for each in sorted(others)])
    return replace(found, notes=(*found.notes, f"{names} beside it not read; give the folder to use all parts"))


def _folder(own: str, path: Path, reading: Reading, where: str) -> Source | None:
    """The set in a folder of no known name; None if nothing is recognised."""
    inner = _innermost(path)
    published = next((name for name, folder in known.FOLDERS.items() if inner.name == folder), None)
    if published:
        return known.torchvision(published, inner.parent, download=False)
    files = sorted(each for each in inner.iterdir() if each.is_file() and not each.name.startswith("."))
    if sum(meaning(name) is not None for name in lone_arrays(inner)) >= 2:
        return array_folder(inner, reading)
    found = idx_folder(own, inner, reading)
    if found:
        return found
    found = picture_folder(own, path, reading, where)
    if found:
        return found
    parquets = sorted(each for each in path.rglob("*.parquet") if each.is_file())
    if parquets:
        return parquet_files(own, where, path, parquets, reading)
    tables = [each for each in files if each.suffix.casefold() in (".csv", ".tsv") and is_pixel_table(each)]
    if tables:
        return pixel_tables(own, where, tables, reading)
    lone = [each for each in files if each.suffix.casefold() in ARRAYS]
    if len(lone) == 1:
        return array_file(lone[0], reading)
    if lone:
        return array_parts(own, where, lone, reading)
    _refuse_what_says_no_class(path, where)
    return None


def _refuse_what_says_no_class(path: Path, where: str) -> None:
    """Raise DataError for pictures of no class, with what is beside them, and for archives that are to be unpacked."""
    count = count_pictures(path)
    files = sorted(each for each in path.rglob("*") if each.is_file() and not each.name.startswith("."))
    if count:
        tables = [shown(each.name) for each in files if each.suffix.casefold() in TABLES]
        beside = f" ({listed(tables)}: no labels of training pictures that are here)" if tables else ""
        raise DataError(
            f"{where} holds {counted(count, 'picture')}, and nothing says of which class{beside}: sort them into a "
            "folder for each class, or put a table with file names and labels beside them (labels.csv)"
        )
    archives = [shown(each.name) for each in files if is_archive(each)]
    if archives:
        raise DataError(
            f"{where} holds {counted(len(archives), 'archive')}, {listed(archives)}; unpack what belongs together, or "
            "give the one that has all"
        )


def _innermost(path: Path) -> Path:
    """`path`, or the only folder in it, and so on: what is wrapped around a set is looked through."""
    while True:
        inside = [each for each in path.iterdir() if not each.name.startswith((".", "__MACOSX"))]
        if len(inside) != 1 or not inside[0].is_dir():
            return path
        path = inside[0]


def _known_in(name: str, folder: Path, reading: Reading) -> Source | None:
    """The known set `name` in a folder, as one file or in torchvision's layout; None if it is not there."""
    if (folder / f"{name}.npz").is_file():
        return array_file(folder / f"{name}.npz", reading, KNOWN[name].classes, name)
    own = KNOWN[name].torchvision
    if name in known.FOLDERS:
        inner = known.FOLDERS[name]
        for root in (folder, folder / own, folder.parent if folder.name == inner else folder):
            if (root / inner).is_dir():
                return known.torchvision(name, root, download=False)
        return None
    raw = folder / own / "raw"
    if raw.is_dir():
        plain = any(raw.glob("*-ubyte"))
        packed = None if plain else idx_folder(name, raw, reading, KNOWN[name].classes)
        return packed or known.torchvision(name, folder, download=False)
    return None


def _lacks(name: str, folder: Path) -> str:
    layout = f"{known.FOLDERS.get(name, f'{KNOWN[name].torchvision}/raw')}/"
    return f"{shown(str(folder))} holds neither {name}.npz nor {layout}"
