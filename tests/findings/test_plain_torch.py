"""`load.py` of an export: whatever winner we train, its layers as plain code give what the checkpoint gives."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search.findings import plain_torch
from trainables.classifier import Architecture
from trainables.layers import ACTIVATIONS

CLASSES = ('a "quoted" name', 'b\n"""+__import__(\'os\')')

CASES: dict[str, tuple[str, tuple[int, int, int], dict[str, Any]]] = {
    "softmax regression": ("mlp", (1, 8, 8), {"depth": 0}),
    "perceptron": ("mlp", (3, 5, 4), {"depth": 2, "width": 9, "batch_norm": True, "dropout": 0.2}),
    "points": ("mlp", (2, 1, 1), {"depth": 1, "width": 5, "head": "logistic"}),
    "cnn": ("cnn", (1, 12, 12), {"depth": 2, "width": 4, "hidden_depth": 1, "hidden_width": 7, "dropout": 0.1}),
    "residual": ("cnn", (3, 9, 9), {"depth": 2, "width": 4, "residual": True, "kernel": "1x3", "scaling": "unit"}),
    "mirrored": ("cnn", (1, 9, 9), {"depth": 1, "width": 4, "mirror": True, "batch_norm": False}),
    **{f"activation {name}": ("mlp", (1, 4, 4), {"depth": 1, "width": 3, "activation": name}) for name in ACTIVATIONS},
}


def loaded(folder: Path, code: str) -> nn.Module:
    """What `load()` of the file with this code gives."""
    (folder / "load.py").write_text(code)
    names: dict[str, Any] = {"__file__": str(folder / "load.py"), "__name__": "load"}
    exec(compile(code, "load.py", "exec"), names)
    assert names["CLASSES"] == list(CLASSES)
    model: nn.Module = names["load"]()
    return model


def images(shape: tuple[int, int, int]) -> Tensor:
    draws = torch.Generator().manual_seed(1)
    if shape[1:] == (1, 1):
        return torch.randn((5, *shape), generator=draws)
    return torch.randint(0, 256, (5, *shape), generator=draws).to(torch.uint8)


@pytest.mark.parametrize("case", CASES)
def test_the_code_gives_the_logits_of_the_checkpoint(case: str, tmp_path: Path) -> None:
    family, shape, arguments = CASES[case]
    torch.manual_seed(0)
    architecture = Architecture(family, shape, CLASSES, arguments)
    model = architecture.build([20.0] * shape[0], [50.0] * shape[0]).eval()
    architecture.save(tmp_path, model)
    code = plain_torch.source(model, "The winner.", "images", CLASSES)
    imported = {
        name.name.partition(".")[0]
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import)
        for name in node.names
    }
    assert imported == {"json", "torch"}
    again = loaded(tmp_path, code)
    given = images(shape)
    assert torch.equal(again(given), model(given))
    assert not again.training
    again.train()(given).sum().backward()  # it can be trained on
    assert all(parameter.grad is not None for parameter in again.parameters())


def test_a_network_of_layers_that_nobody_knows_is_loaded_as_a_graph() -> None:
    class Odd(nn.Module):
        pass

    code = plain_torch.source(Odd(), "The winner.", "images", CLASSES)
    assert "torch.export.load" in code
    assert "class Network" not in code
    ast.parse(code)
