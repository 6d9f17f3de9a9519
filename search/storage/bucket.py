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
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

from search.errors import BadInput, EnvironmentFault, SearchError, StorageFull
from trainables.cache import cache_folder

T = TypeVar("T")

SCHEME = "s3://"
PATIENCE_SECONDS = 60.0
"""So long the storage may be away; a search waits for it."""
HURRIED_SECONDS = 3.0
"""So long for a command that only looks, and before a search begins."""
BUSY = ("SlowDown", "ConditionalRequestConflict", "RequestTimeout")
"""What is answered, without an error of the server, where one is to ask again."""
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

    Keys are relative to the prefix. Every method raises EnvironmentFault if the storage refuses, or is away for
    `patience` seconds (counted from when this process first found it away), and StorageFull if it has no room.
    """

    name: str
    prefix: str = ""
    patience: float = field(default=PATIENCE_SECONDS, compare=False)

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"{SCHEME}{self.name}/{self.prefix}".rstrip("/")

    @property
    def mirror(self) -> Path:
        """The folder that stands for it on this machine."""
        return _mirrors().joinpath(_server(), self.name, *self.prefix.split("/")[:-1])

    @property
    def hurried(self) -> Bucket:
        """The same for somebody who waits for an answer, and can ask again."""
        return replace(self, patience=HURRIED_SECONDS)

    def __truediv__(self, part: str) -> Bucket:
        return replace(self, prefix=f"{self.prefix}{part}/")

    def create(self, key: str, content: bytes) -> bool:
        """Write an object unless there is one of this key; say whether it was written.

        A conditional write (`If-None-Match: *`): of several writers at a time one succeeds.
        """

        def write(client: Any) -> bool:
            import botocore.exceptions

            try:
                client.put_object(Bucket=self.name, Key=self.prefix + key, Body=content, IfNoneMatch="*")
            except botocore.exceptions.ClientError as error:
                if error.response["Error"]["Code"] == "PreconditionFailed":
                    return False
                raise
            return True

        # One that is there already may be ours: a request whose answer was lost is made again.
        return self._asked(write) or self.get(key) == content

    def put(self, key: str, content: bytes) -> None:
        """Write an object, in place of the one that is there."""
        self._asked(lambda client: client.put_object(Bucket=self.name, Key=self.prefix + key, Body=content))

    def get(self, key: str) -> bytes | None:
        """The content of an object, None if there is none."""

        def read(client: Any) -> bytes:
            content: bytes = client.get_object(Bucket=self.name, Key=self.prefix + key)["Body"].read()
            return content

        return self._asked(_unless_missing(read))

    def age(self, key: str) -> float | None:
        """How many seconds ago an object was written, by the storage's own clock; None if there is none."""

        def look(client: Any) -> float:
            head = client.head_object(Bucket=self.name, Key=self.prefix + key)
            now = parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
            return max(0.0, float((now - head["LastModified"]).total_seconds()))

        return self._asked(_unless_missing(look))

    def objects(self, under: str = "", *, after: str = "") -> list[Object]:
        """The objects whose keys begin with `under` and come after the key `after`, in order."""
        pages = self._pages(Prefix=self.prefix + under, StartAfter=self.prefix + after if after else "")
        return [self._object(each) for page in pages for each in page.get("Contents", ())]

    def top(self) -> tuple[list[Object], list[str]]:
        """What lies at the top: the objects whose keys have one part, and the first parts of all longer ones."""
        pages = self._pages(Prefix=self.prefix, Delimiter="/")
        files = [self._object(each) for page in pages for each in page.get("Contents", ())]
        folders = [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", ())]
        return files, [folder.removeprefix(self.prefix)[:-1] for folder in folders]

    def _object(self, listed: Mapping[str, Any]) -> Object:
        return Object(listed["Key"].removeprefix(self.prefix), listed["Size"], listed["LastModified"].timestamp())

    def _pages(self, **asked: str) -> list[Any]:
        wanted = {"Bucket": self.name, **{key: value for key, value in asked.items() if value}}
        return self._asked(lambda client: list(client.get_paginator("list_objects_v2").paginate(**wanted)))

    def upload(self, folder: Path, files: Iterable[Path]) -> None:
        """Write `files`, whose keys are their paths below `folder`."""

        def write(client: Any, file: Path) -> None:
            client.upload_file(str(file), self.name, self.prefix + file.relative_to(folder).as_posix())

        for file in files:
            self._asked(functools.partial(write, file=file))

    def download(self, folder: Path, keys: Iterable[str]) -> None:
        """Write the objects of these keys to files below `folder`, each of which appears whole or not at all."""

        def read(client: Any, key: str) -> None:
            client.download_file(self.name, self.prefix + key, str(folder / key))

        for key in keys:
            if key.startswith("/") or ".." in key.split("/"):
                raise EnvironmentFault(f"{self.url} holds {key[:100]!r}, which leads out of it; remove it")
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            self._asked(functools.partial(read, key=key))

    def remove(self, keys: Iterable[str]) -> None:
        """Delete the objects of these keys; one that is gone already is no fault."""
        named = [{"Key": self.prefix + key} for key in keys]

        def delete(client: Any, some: list[dict[str, str]]) -> None:
            client.delete_objects(Bucket=self.name, Delete={"Objects": some, "Quiet": True})

        for start in range(0, len(named), MOST_DELETED):
            self._asked(functools.partial(delete, some=named[start : start + MOST_DELETED]))

    def check(self) -> None:
        """Write, read and delete an object. Raises EnvironmentFault if that, or a conditional write, does not work."""
        probe, key, content = self.hurried, f".probe-{uuid.uuid4().hex}", b"can this be written, and only once?"
        try:
            if not probe.create(key, content) or probe.get(key) != content:
                raise EnvironmentFault(f"{self.url} gives back other than was written; choose another --runs")
            if probe.create(key, content[::-1]):
                raise EnvironmentFault(
                    f"the storage of {self.url} knows no conditional writes (If-None-Match), without which two "
                    "processes could write one record; take one that does, or a shared folder"
                )
        finally:
            with contextlib.suppress(EnvironmentFault):  # what stood in the way of the probe has been told
                probe.remove([key])

    def _asked(self, request: Callable[[Any], T]) -> T:
        """`request(client)`, made again while the storage is away; what boto3 raises becomes a fault of one line."""
        link = _link()
        import boto3.exceptions
        import botocore.exceptions

        pause = 0.2
        while True:
            try:
                answer = request(link.client)
                link.away_since = None
                return answer
            except (botocore.exceptions.BotoCoreError, boto3.exceptions.Boto3Error) as error:
                fault = self._fault(error)
                away = isinstance(error, (*_away(), boto3.exceptions.Boto3Error))
            except botocore.exceptions.ClientError as error:
                fault = self._fault(error)
                code = error.response["Error"]["Code"]
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
                away = (status >= 500 and status != 507) or code in BUSY
            away_for = link.failed(away)
            if not away or away_for + pause > self.patience:
                raise fault from None
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _fault(self, error: Exception) -> SearchError:
        why = " ".join(str(error).split())[:200]
        answer = getattr(error, "response", None) or {}
        code = answer.get("Error", {}).get("Code", "")
        if code in FULL or answer.get("ResponseMetadata", {}).get("HTTPStatusCode") == 507:
            return StorageFull(f"no space left in {self.url} ({code}); free some, then resume")
        if code:
            return EnvironmentFault(f"the storage refuses {self.url}: {why}; look at the bucket and its rights")
        return EnvironmentFault(
            f"the storage of {self.url} cannot be used: {why}; AWS_ENDPOINT_URL, AWS_PROFILE and the like say where it "
            "is and who asks"
        )


def _away() -> tuple[type[Exception], ...]:
    """What botocore raises where nobody answers, or not to the end."""
    from botocore import exceptions

    return exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.IncompleteReadError


def _unless_missing(request: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """`request`, with None where there is no such object."""

    def asked(client: Any) -> T | None:
        import botocore.exceptions

        try:
            return request(client)
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise

    return asked


@dataclass
class _Link:
    """What this process has with the storage: boto3's client, and since when nobody answers, by time.monotonic().

    One absence is waited for once, by all threads: what is left to say at its end is tried, and no more.
    """

    client: Any
    away_since: float | None = None
    failed_at: float = 0.0

    def failed(self, away: bool) -> float:
        """Note that a request failed, because the storage is `away` or for another reason; seconds of the absence."""
        now, before = time.monotonic(), self.failed_at
        self.failed_at = now
        if not away:
            self.away_since = None
        elif self.away_since is None or now > before + PATIENCE_SECONDS:  # nobody asked meanwhile
            self.away_since = now
        return now - (self.away_since or now)


@functools.cache
def _link() -> _Link:
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise EnvironmentFault("object storage needs boto3; pip install 'search[s3]', on every node") from None
    # Checksums that are not asked for: servers other than Amazon's know them not, or not long.
    asked = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    # Whether and how long to ask again is decided here, not there.
    config = Config(
        connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 1}, max_pool_connections=LANES, **asked
    )
    return _Link(boto3.session.Session().client("s3", config=config))
