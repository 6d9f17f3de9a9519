"""Archives: read as the folder in them, unpacked once, and never beyond their root or the limit."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.trainables.test_picture_folders import counts, usual
from trainables.cache import cache_folder
from trainables.datasets import DataError, Reading, find


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar", "bztar", "xztar"])
def test_an_archive_is_read_as_the_folder_in_it(tmp_path: Path, kind: str) -> None:
    usual(tmp_path / "pets" / "pets")
    path = Path(shutil.make_archive(str(tmp_path / "pets"), kind, tmp_path / "pets"))
    source = find("digits", path)
    assert (source.name, source.where, source.classes) == ("pets", str(path), ("cat", "dog"))
    assert counts(source) == {"train": 12, "test": 4}


def test_an_archive_of_arrays_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.arange(1024, dtype=np.uint8).reshape(16, 8, 8), y_train=np.arange(16) % 2)
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.write(tmp_path / "a.npz", "inside/a.npz")
    assert len(find("digits", tmp_path / "mine.zip").train()[1]) == 16


def test_an_archive_is_unpacked_once_and_again_if_it_changes(tmp_path: Path) -> None:
    usual(tmp_path / "pets")
    path = Path(shutil.make_archive(str(tmp_path / "pets"), "zip", tmp_path / "pets"))
    find("digits", path)
    (place,) = (cache_folder() / "unpacked").iterdir()
    made = place.stat().st_mtime_ns
    find("digits", path)
    assert [each.stat().st_mtime_ns for each in (cache_folder() / "unpacked").iterdir()] == [made]
    path.write_bytes(path.read_bytes())
    find("digits", path)
    assert len(list((cache_folder() / "unpacked").iterdir())) == 2


def _zipped(path: Path, name: str, content: bytes = b"x", mode: int = 0o644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, content)
    return path


def _tarred(path: Path, name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, 1 if kind == tarfile.REGTYPE else 0
        archive.addfile(info, io.BytesIO(b"x"))
    return path


def test_an_archive_of_another_kind_than_its_name_says_is_read(tmp_path: Path) -> None:
    usual(tmp_path / "pets")
    packed = Path(shutil.make_archive(str(tmp_path / "pets"), "gztar", tmp_path / "pets"))
    assert counts(find("digits", packed.rename(tmp_path / "pets.zip"))) == {"train": 12, "test": 4}


def test_an_archive_of_archives_is_told_to_be_unpacked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds 1 archive, train\.zip; unpack what belongs together"):
        find("digits", _zipped(tmp_path / "all.zip", "train.zip"))


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a path upwards": (lambda at: _zipped(at / "a.zip", "../../out.png"), "leads out of the archive"),
    "an absolute path": (lambda at: _tarred(at / "a.tar", "/tmp/out.png"), "leads out of the archive"),
    "a path upwards in a tar": (lambda at: _tarred(at / "a.tar", "x/../../out.png"), "leads out of the archive"),
    "a backslash": (lambda at: _zipped(at / "a.zip", "..\\..\\out.png"), "leads out of the archive"),
    "a link in a zip": (lambda at: _zipped(at / "a.zip", "x", b"/etc", 0o120777), "is a link"),
    "a link in a tar": (lambda at: _tarred(at / "a.tar", "x", tarfile.SYMTYPE, "/etc"), "is a link or a device"),
    "a device": (lambda at: _tarred(at / "a.tar", "x", tarfile.CHRTYPE), "is a link or a device"),
    "a bomb": (lambda at: _zipped(at / "a.zip", "x.png", bytes(20_000_000)), "unpacks to more than 1,000,000 bytes"),
    "no zip": (lambda at: Path(shutil.copy(__file__, at / "a.zip")), "cannot be unpacked"),
    "no tar": (lambda at: Path(shutil.copy(__file__, at / "a.tar.gz")), "cannot be unpacked"),
    "nothing in it": (lambda at: _zipped(at / "a.zip", "readme.txt"), "holds nothing that is read"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "why"), HOSTILE.values(), ids=HOSTILE.keys())
def test_an_archive_that_means_harm_or_holds_nothing_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], why: str
) -> None:
    with pytest.raises(DataError, match=why) as refused:
        find("digits", make(tmp_path), reading=Reading(limit=10**6))
    assert "\n" not in str(refused.value)
    left = list((cache_folder() / "unpacked").glob("*")) if why != "holds nothing that is read" else []
    assert left == []
    assert not list(tmp_path.parent.glob("out.png"))
