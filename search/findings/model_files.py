"""The winner as files that need nothing of ours: weights, plain torch, a graph, ONNX, and how to call them.

Each network that is written is read again and asked about images; what does not answer as the checkpoint is left out.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from search.findings import plain_torch
from search.findings.exported_folder import CONFIG
from search.findings.snapshot import Snapshot
from search.findings.winner_model import FILE as GRAPH
from search.findings.winner_model import Found
from search.printable import one_line

if TYPE_CHECKING:
    from torch import Tensor, nn

CODE, ONNX, README = "load.py", "model.onnx", "README.md"
CLOSE = 1e-3
"""So much a probability may differ: other libraries add up in another order."""
AGREEMENT = 2
"""So many images may be judged otherwise, by sums that are added in another order."""
AT_A_TIME = 250
NEEDED = "onnx onnxscript onnxruntime"
HOW_TO_GET = "pip install 'search[export]' brings what it takes"


@dataclass(frozen=True)
class Examples:
    """Images `(N, C, H, W)`, as the data has them, on which written networks are checked; `what` says which."""

    images: Tensor
    what: str


@dataclass
class Written:
    """What was written: a line for each file that was checked or left out. `checked` are the names of the former."""

    lines: list[str] = field(default_factory=list)
    checked: dict[str, str] = field(default_factory=dict)


def write(folder: Path, search: Snapshot, found: Found, examples: Examples | None) -> Written:
    """Write the winner of `search` into `folder`, which exists: all files without `examples` but graph and ONNX.

    Raises OSError where there is no room, EnvironmentFault for published weights that are no longer at hand.
    """
    written = Written()
    found.copy_to(folder)
    network = found.network()
    told = described(search)
    (folder / CONFIG).write_text(yaml.safe_dump(told, sort_keys=False, allow_unicode=True))
    if network is None:
        written.lines.append("the network is its author's code, which alone can load weights.safetensors")
        return written
    if not search.header.knows_input:
        written.lines.append(f"{GRAPH} is as its author's code left it, unchecked: what it takes is not in the record")
        return written
    takes = f"{told['dtype']} images (N, {', '.join(map(str, told['shape']))})"
    about = f"The winner of the search {told['search']}, in plain torch."
    code = plain_torch.source(network, about, takes, told["classes"])
    (folder / CODE).write_text(code)
    if examples is not None:
        with torch_in_silence():
            _graphs(folder, found, network, examples, written)
    (folder / README).write_text(_readme(told, written, plain="class Network" in code))
    return written


def described(search: Snapshot) -> dict[str, Any]:
    """What `config.yaml` says: what the network is of, what it takes, and what it came to."""
    header, best = search.header, search.winner
    assert best is not None
    row = best.best_epoch(search.objective)
    return {
        # Which is also written into code and Markdown, and a record may say what it likes.
        "search": re.sub(r"[^\w.-]", "_", search.folder.name),
        "study": header.study,
        "trial": best.number,
        "epoch": row.number,
        "dataset": header.dataset,
        "data_sha256": header.digest,
        "shape": [int(side) for side in header.shape],
        "dtype": "float32" if header.brightest == 0 else "uint8",
        "brightest": header.brightest,
        "classes": [str(name) for name in header.classes],
        "metrics": {name: float(value) for name, value in row.metrics.items()},
        "test_accuracy": search.tested.value if search.tested else None,
        "checkpoint_sha256": row.sha256,
        "hyperparameters": header.full_config(best.point),
    }


def _graphs(folder: Path, found: Found, network: nn.Module, examples: Examples, written: Written) -> None:
    """The graph of the network, and ONNX made of that, each read again and compared."""
    import torch

    from trainables import exported

    path, expected = folder / GRAPH, _in_parts(lambda images: network(images), examples.images)
    if not path.is_file():
        try:
            exported.export(network, examples.images[:2], path, {"checkpoint": found.checkpoint.name})
        except exported.NotExportable as error:
            written.lines.append(f"{GRAPH}, {ONNX} are not written: torch.export does not take the network ({error})")
            return
    graph = exported.load(path)[0]
    if not _agrees(path, _in_parts(lambda images: graph(images), examples.images), expected, examples.what, written):
        return
    lacking = _lacking()
    if lacking:
        written.lines.append(f"{ONNX} is not written: {', '.join(lacking)} missing; {HOW_TO_GET}")
        return
    import onnxruntime

    onnx = folder / ONNX
    try:
        program = torch.export.load(path)
        torch.onnx.export(
            program, (), onnx, input_names=["images"], output_names=["logits"], external_data=False, verbose=False
        )
        session = onnxruntime.InferenceSession(onnx.read_bytes(), providers=["CPUExecutionProvider"])
        again = _in_parts(
            lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0]), examples.images
        )
    except OSError:
        raise
    except Exception as error:  # torch, onnxscript and onnxruntime raise what they come upon
        onnx.unlink(missing_ok=True)
        written.lines.append(f"{ONNX} is not written: torch.onnx does not take the network ({_reason(error)})")
        return
    _agrees(onnx, again, expected, examples.what, written)


def _in_parts(ask: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Probabilities `(N, classes)`, a part of the images at a time."""
    import torch

    with torch.inference_mode():
        return torch.cat([ask(part).float().softmax(1) for part in images.split(AT_A_TIME)])


def _agrees(path: Path, again: Tensor, expected: Tensor, what: str, written: Written) -> bool:
    """Say how near the network in `path` comes to the checkpoint; one that does not is removed."""
    worst = float((again - expected).abs().max())
    same = int((again.argmax(1) == expected.argmax(1)).sum())
    said = f"{same} of {len(expected)} {what} get the checkpoint's answer, probabilities differ by {worst:.1e} at most"
    if worst <= CLOSE and len(expected) - same <= AGREEMENT:
        written.lines.append(f"{path.name}: {said}")
        written.checked[path.name] = said
        return True
    path.unlink()
    written.lines.append(f"{path.name} is not written, for it answers otherwise: {said}")
    return False


def _lacking() -> list[str]:
    """The packages that ONNX needs and that are not installed."""
    from importlib.util import find_spec

    return [name for name in NEEDED.split() if find_spec(name) is None]


@contextlib.contextmanager
def torch_in_silence() -> Iterator[None]:
    """torch tells of its progress and of its own future on standard output and error; what matters it raises."""
    nowhere, before = io.StringIO(), logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _reason(error: BaseException) -> str:
    return one_line(str(error))[:200] or type(error).__name__


def _readme(told: dict[str, Any], written: Written, *, plain: bool) -> str:
    """How to call what lies in the folder; class names stand in `config.yaml`, since they are somebody's words."""
    dtype, sides = told["dtype"], ", ".join(map(str, told["shape"]))
    images = f"zeros((2, {sides}), dtype={{}}.{dtype})"
    tested = "" if told["test_accuracy"] is None else f", {told['test_accuracy']:.4f} on the test set"
    value = told["metrics"].get("val_accuracy")
    worth = f"{value:.4f} on the validation part{tested}" if value is not None else "in config.yaml"
    parts = [
        f"# The winner of {told['search']}",
        f"Trial {told['trial']}, epoch {told['epoch']}. Accuracy: {worth}. It takes {dtype} images (N, {sides})"
        + (", grey levels as they are: normalisation is inside" if dtype == "uint8" else "")
        + f". It gives logits (N, {len(told['classes'])}); the names of the classes are in `config.yaml`, in order.",
        "Each call below needs what it imports and nothing else.",
    ]
    if plain or GRAPH in written.checked:
        what = "The layers as code, with the weights of `weights.safetensors`" if plain else "The graph, loaded"
        parts += [
            f"## {what}",
            "```python\nimport torch\n\nfrom load import CLASSES, load\n\nmodel = load()\n"
            f"chances = model(torch.{images.format('torch')}).softmax(1)\n"
            "print([CLASSES[index] for index in chances.argmax(1)])\n```",
        ]
    if GRAPH in written.checked:
        parts += [
            f"## `{GRAPH}`: the graph, for torch",
            f'```python\nimport torch\n\nmodel = torch.export.load("{GRAPH}").module()\n'
            f"print(model(torch.{images.format('torch')}).argmax(1))\n```",
            f"Checked: {written.checked[GRAPH]}.",
        ]
    if ONNX in written.checked:
        parts += [
            f"## `{ONNX}`: for ONNX Runtime and others",
            f'```python\nimport numpy as np\nimport onnxruntime\n\nsession = onnxruntime.InferenceSession("{ONNX}")\n'
            f'(logits,) = session.run(None, {{"images": np.{images.format("np")}}})\nprint(logits.argmax(1))\n```',
            f"Checked: {written.checked[ONNX]}.",
        ]
    parts += ["`architecture.json`, or the graph, is what `python -m search predict FOLDER PATH…` reads."]
    return "\n\n".join(parts) + "\n"
