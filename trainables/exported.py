"""A network as torch.export has it: graph and weights in one file, which needs nobody's code to run.

What stands in such a file is JSON and raw numbers. `load` refuses all else that torch would read from one (pickles,
libraries); yet torch parses the expressions in a graph, and promises nothing of a file that somebody made to do harm.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

RECORDS = re.compile(
    r"[^/]+/(archive_format|archive_version|byteorder|\.data/(version|serialization_id)|models/[^/]+\.json"
    r"|data/(weights|constants)/(model_\w+_config\.json|(weight|tensor)_\d+)|data/sample_inputs/[^/]+\.pt|extra/[^/]+\.json)"
)
"""The members of a file that this module writes."""
ABOUT, ANSWERS = "about.json", "answers.json"
"""What is said about a network; what it answered to the certain batch where it was trained."""


class NotExportable(Exception):
    """torch.export does not take a network, as where its course depends on values; the message says why."""


class Exported(nn.Module):
    """A network that was exported in evaluation mode, and knows no other."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, images: Tensor) -> Tensor:
        """What the network that was exported gives."""
        answers: Tensor = self.graph(images)
        return answers

    def train(self, mode: bool = True) -> Exported:
        """Nothing changes but the flag: an exported graph is that of evaluation."""
        self.training = mode
        return self


def export(model: nn.Module, images: Tensor, path: Path, about: Mapping[str, Any]) -> None:
    """Write `model`, on the CPU, to `path`, with what is to be known `about` it; it takes any number of `images`.

    `images` are two or more, of which only shape and type matter. Raises NotExportable.
    """
    model.eval()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        whole = Path(folder, path.name)
        try:
            with _quietly():
                program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
                torch.export.save(program, whole)
        except OSError:
            raise
        except Exception as error:  # torch raises whatever its tracing comes upon
            raise NotExportable(_reason(error)) from None
        _without_samples(whole, Path(folder, "lean"), about)
        Path(folder, "lean").replace(path)


def adopt(source: Path, path: Path, about: Mapping[str, Any]) -> None:
    """Write to `path` the network that torch.export.save put into `source`, as if `export` had: nothing is unpickled.

    Raises ValueError for a file of another make, and for one with weights that only a pickle holds.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        lean = Path(folder, path.name)
        try:
            _without_samples(source, lean, about)
        except (zipfile.BadZipFile, IndexError, OSError) as error:
            raise ValueError(f"it is no file of torch.export ({error})") from None
        with zipfile.ZipFile(lean) as archive:
            _check(archive)
        lean.replace(path)


def opened(path: Path) -> tuple[Exported, list[int | None], torch.dtype]:
    """The network in `path`, and shape and type of the tensor that it takes; sizes that are free are None.

    Raises ValueError for a file of another make, and for a network that takes something else than one tensor.
    """
    described(path)
    program = torch.export.load(path)
    named = {node.name: node for node in program.graph.nodes}
    taken = [named[name].meta["val"] for name in program.graph_signature.user_inputs if isinstance(name, str)]
    if len(taken) != 1 or not isinstance(taken[0], Tensor):
        raise ValueError(f"its network takes {len(taken)} inputs, and not one tensor")
    sizes: list[int | None] = [size if isinstance(size, int) else None for size in taken[0].shape]
    return Exported(program.module()), sizes, taken[0].dtype


def certain_batch(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """The batch of that shape which `search.report.model` asks a network about: the same everywhere."""
    return torch.linspace(0, 1, math.prod(shape)).reshape(*shape).to(dtype)


def answers_in(path: Path) -> list[float]:
    """What the network in `path` answered to the certain batch where it was trained; empty if that is not known."""
    with zipfile.ZipFile(path) as archive:
        found = [name for name in archive.namelist() if name.endswith(f"/extra/{ANSWERS}")]
        told = json.loads(archive.read(found[0])) if found else []
    return [float(each) for each in told] if isinstance(told, list) else []


def load(path: Path) -> tuple[Exported, dict[str, Any]]:
    """The network in `path`, on the CPU, and what was said about it. Raises ValueError for a file of another make."""
    about = described(path)
    program = torch.export.load(path)
    return Exported(program.module()), about


def described(path: Path) -> dict[str, Any]:
    """What is said about the network in `path`. Raises ValueError for a file that `export` did not write."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive)
            [extra] = [name for name in archive.namelist() if name.endswith(f"/extra/{ABOUT}")]
            about: dict[str, Any] = json.loads(archive.read(extra))
            return about
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{path} is no network that this service exported ({error})") from None


def _check(archive: zipfile.ZipFile) -> None:
    for member in archive.infolist():
        name = member.filename
        if not RECORDS.fullmatch(name):
            raise ValueError(f"it holds {name}")
        if "/sample_inputs/" in name and member.file_size:
            raise ValueError("it holds pickled inputs")
        if name.endswith("_config.json") and any(
            entry.get("use_pickle") is not False for entry in json.loads(archive.read(name))["config"].values()
        ):
            raise ValueError("it holds pickled weights")


def _without_samples(whole: Path, path: Path, about: Mapping[str, Any]) -> None:
    """Copy an archive, with what is known `about` it, but for the images that it was exported with.

    They are somebody's data, and are pickled.
    """
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        root = source.namelist()[0].partition("/")[0]
        target.writestr(f"{root}/extra/{ABOUT}", json.dumps(about))
        for member in source.infolist():
            if member.filename.endswith(f"/extra/{ABOUT}"):
                continue
            with source.open(member) as old, target.open(member.filename, "w") as new:
                if "/sample_inputs/" not in member.filename:
                    shutil.copyfileobj(old, new)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """torch writes whole graphs where it fails; its exception says enough."""
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level, nowhere = log.level, io.StringIO()
    log.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            torch.no_grad(),
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {(lines or [''])[0][:200]}".rstrip(": ")
