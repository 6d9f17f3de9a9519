"""Object storage that speaks S3: a part of a bucket, and the folder here that stands for it.

`--runs s3://BUCKET/PREFIX` names such a part. Everywhere else in this package `runs` stays a folder: the mirror of the
bucket in the cache folder of whoever needs it, whose path says which bucket that is. Credentials, region and endpoint
are boto3's own affair (AWS_PROFILE, AWS_ENDPOINT_URL, a role of the machine, …).
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.errors import BadInput, EnvironmentFault, StorageFull
from trainables.cache import cache_folder

SCHEME = "s3://"
ATTEMPTS = 6
"""So often a request is made before the storage counts as gone; with growing pauses, half a minute in all."""
FULL = ("XMinioStorageFull", "QuotaExceeded", "InsufficientStorage")
"""How servers other than Amazon's, which has no end, say that there is no room."""
LANES = 16
"""So many requests of one process are under way at a time, at most."""
MOST_DELETED = 1000
"""So many objects one request can delete."""


def runs_folder(runs: str | Path) -> Path:
    """The folder that `--runs` means: itself, or the mirror here of the bucket that it names. Raises BadInput."""
    text = str(runs)
    if not text.startswith(SCHEME):
        return Path(runs)
    name, _, prefix = text.removeprefix(SCHEME).partition("/")
    parts = [part for part in prefix.split("/") if part]
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name) or any(part in (".", "..") for part in parts):
        raise BadInput(f"--runs in object storage is s3://BUCKET or s3://BUCKET/PREFIX, but got {text}")
    return Bucket(name, "".join(f"{part}/" for part in parts)).mirror


def of(folder: Path) -> Bucket | None:
    """What `folder` is the mirror of, or None if it is a folder like any other."""
    if not folder.is_absolute() or not folder.is_relative_to(_mirrors()):
        return None
    parts = folder.relative_to(_mirrors()).parts
    return Bucket(parts[1], "".join(f"{part}/" for part in parts[2:])) if len(parts) > 1 else None


def shown(path: Path) -> str:
    """`path` as people know it: the address of an object, if it is in a mirror."""
    bucket = of(path)
    return bucket.url if bucket else str(path)


def _mirrors() -> Path:
    return cache_folder().resolve() / "s3"


def _server() -> str:
    """Whose bucket it is: two servers may have buckets of one name."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "aws"
    return re.sub(r"[^A-Za-z0-9.-]", "-", urllib.parse.urlsplit(endpoint).netloc.rpartition("@")[2] or endpoint)


@dataclass(frozen=True)
class Object:
    """An object: its key, its size in bytes, when it was written, in seconds since 1970 by the storage's clock."""

    key: str
    bytes: int
    written: float


@dataclass(frozen=True)
class Bucket:
    """The objects of the bucket `name` whose keys begin with `prefix`, which is "" or ends in a slash.

    Keys are relative to the prefix. Every method raises EnvironmentFault if the storage does not answer or refuses, and
    StorageFull if it has no room.
    """

    name: str
    prefix: str = ""

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"{SCHEME}{self.name}/{self.prefix}".rstrip("/")

    @property
    def mirror(self) -> Path:
        """The folder that stands for it on this machine."""
        return _mirrors().joinpath(_server(), self.name, *self.prefix.split("/")[:-1])

    def __truediv__(self, part: str) -> Bucket:
        return Bucket(self.name, f"{self.prefix}{part}/")

    def create(self, key: str, content: bytes) -> bool:
        """Write an object unless there is one of this key; say whether it was written.

        A conditional write (`If-None-Match: *`): of several writers at a time one succeeds.
        """
        import botocore.exceptions

        with _told(self):
            while True:
                try:
                    _client().put_object(Bucket=self.name, Key=self.prefix + key, Body=content, IfNoneMatch="*")
                    return True
                except botocore.exceptions.ClientError as error:
                    code = error.response["Error"]["Code"]
                    if (
                        code == "ConditionalRequestConflict"
                    ):  # another one was being written; S3 wants to be asked again
                        continue
                    if code != "PreconditionFailed":
                        raise
                    # Ours may be there already: an answer that was lost is asked for again, by boto3 itself.
                    return self.get(key) == content

    def put(self, key: str, content: bytes) -> None:
        """Write an object, in place of the one that is there."""
        with _told(self):
            _client().put_object(Bucket=self.name, Key=self.prefix + key, Body=content)

    def get(self, key: str) -> bytes | None:
        """The content of an object, None if there is none."""
        import botocore.exceptions

        with _told(self):
            try:
                content: bytes = _client().get_object(Bucket=self.name, Key=self.prefix + key)["Body"].read()
            except botocore.exceptions.ClientError as error:
                if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                    return None
                raise
            return content

    def age(self, key: str) -> float | None:
        """How many seconds ago an object was written, by the storage's own clock; None if there is none."""
        from email.utils import parsedate_to_datetime

        import botocore.exceptions

        with _told(self):
            try:
                head = _client().head_object(Bucket=self.name, Key=self.prefix + key)
            except botocore.exceptions.ClientError as error:
                if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                    return None
                raise
            now = parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
            return max(0.0, float((now - head["LastModified"]).total_seconds()))

    def objects(self, under: str = "", *, after: str = "") -> list[Object]:
        """The objects whose keys begin with `under` and come after the key `after`, in order."""
        return [
            Object(each["Key"].removeprefix(self.prefix), each["Size"], each["LastModified"].timestamp())
            for page in self._pages(Prefix=self.prefix + under, StartAfter=self.prefix + after if after else "")
            for each in page.get("Contents", ())
        ]

    def top(self) -> tuple[list[Object], list[str]]:
        """What lies at the top: the objects whose keys have one part, and the first parts of all longer ones."""
        files, folders = [], []
        for page in self._pages(Prefix=self.prefix, Delimiter="/"):
            files += [
                Object(each["Key"].removeprefix(self.prefix), each["Size"], each["LastModified"].timestamp())
                for each in page.get("Contents", ())
            ]
            folders += [each["Prefix"].removeprefix(self.prefix)[:-1] for each in page.get("CommonPrefixes", ())]
        return files, folders

    def _pages(self, **asked: str) -> Iterator[Any]:
        with _told(self):
            yield from (
                _client()
                .get_paginator("list_objects_v2")
                .paginate(Bucket=self.name, **{key: value for key, value in asked.items() if value})
            )

    def upload(self, folder: Path, files: Iterable[Path]) -> None:
        """Write `files`, whose keys are their paths below `folder`."""
        with _told(self):
            for file in files:
                _client().upload_file(str(file), self.name, self.prefix + file.relative_to(folder).as_posix())

    def download(self, folder: Path, keys: Iterable[str]) -> None:
        """Write the objects of these keys to files below `folder`, each of which appears whole or not at all."""
        with _told(self):
            for key in keys:
                file = folder / key
                file.parent.mkdir(parents=True, exist_ok=True)
                _client().download_file(self.name, self.prefix + key, str(file))

    def remove(self, keys: Iterable[str]) -> None:
        """Delete the objects of these keys; one that is gone already is no fault."""
        named = [{"Key": self.prefix + key} for key in keys]
        with _told(self):
            for start in range(0, len(named), MOST_DELETED):
                told = {"Objects": named[start : start + MOST_DELETED], "Quiet": True}
                _client().delete_objects(Bucket=self.name, Delete=told)

    def check(self) -> None:
        """Write, read and delete an object. Raises EnvironmentFault if that, or a conditional write, does not work."""
        import uuid

        key, content = f".probe-{uuid.uuid4().hex}", b"can this be written, and only once?"
        try:
            if not self.create(key, content) or self.get(key) != content:
                raise EnvironmentFault(f"{self.url} gives back other than was written; choose another --runs")
            if self.create(key, content[::-1]):
                raise EnvironmentFault(
                    f"the storage of {self.url} knows no conditional writes (If-None-Match), without which two "
                    "processes could write one record; take one that does, or a shared folder"
                )
        finally:
            with contextlib.suppress(EnvironmentFault):  # what stood in the way of the probe has been told
                self.remove([key])


@functools.cache
def _client() -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise EnvironmentFault("object storage needs boto3; pip install 'search[s3]', on every node") from None
    # Checksums that are not asked for: servers other than Amazon's know them not, or not long.
    asked = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    return boto3.session.Session().client(
        "s3", config=Config(connect_timeout=5, read_timeout=30, retries=retries, max_pool_connections=LANES, **asked)
    )


@contextlib.contextmanager
def _told(bucket: Bucket) -> Iterator[None]:
    """Inside, what boto3 raises becomes a fault of one line."""
    _client()
    import boto3.exceptions
    import botocore.exceptions

    try:
        yield
    except botocore.exceptions.ClientError as error:
        code, why = error.response["Error"]["Code"], " ".join(str(error).split())[:200]
        if code in FULL or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 507:
            raise StorageFull(f"no space left in {bucket.url} ({code}); free some, then resume") from None
        raise EnvironmentFault(f"the storage refuses {bucket.url}: {why}; look at the bucket and its rights") from None
    except (botocore.exceptions.BotoCoreError, boto3.exceptions.Boto3Error) as error:
        why = " ".join(str(error).split())[:200]
        raise EnvironmentFault(
            f"the storage of {bucket.url} cannot be used: {why}; AWS_ENDPOINT_URL, AWS_PROFILE and the like say where "
            "it is and who asks"
        ) from None
