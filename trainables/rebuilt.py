"""A network of a user's own, built once more by its author's code, with the weights of a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from trainables import state
from trainables.classifier import WEIGHTS
from trainables.data import Data
from trainables.epoch import Epoch, Trainable
from trainables.own import OwnBlueprint, OwnNetwork, check_answers
from trainables.started import started


class NotRebuilt(Exception):
    """A checkpoint of which no network can be made; the message says why."""


class AsGiven(nn.Module):
    """A generator's network, called with images as the data has them: those of whole numbers become float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, classes)`."""
        logits: Tensor = self.network(images.float())
        return logits


def rebuilt(trainable: Trainable, config: Mapping[str, Any], data: Data, folder: Path) -> nn.Module:
    """The network whose weights are in the checkpoint `folder`: images as `data` has them to logits `(N, classes)`.

    It is on the CPU and in evaluation mode. What trains by our loop is built by its function. A generator is run until
    it first calls a network with such weights, at the latest until its first epoch. Raises NotRebuilt.
    """
    if not (folder / WEIGHTS).is_file():
        raise NotRebuilt("its checkpoint has no weights that this service wrote; yield Epoch(number, metrics, model=…)")
    try:
        if isinstance(trainable, OwnNetwork):
            blueprint = OwnBlueprint(trainable.build, {**config, "train/device": "cpu"}, data)
            own = blueprint.build(data.mean, data.std)
            own.load_state_dict(blueprint.weights(folder))
            return own.eval()
        network = _of_generator(trainable, config, data, folder).cpu()
        state.load_weights(network, folder)
        model = AsGiven(network)
        check_answers(model, data)
        return model.eval()
    except NotRebuilt:
        raise
    except Exception as error:  # whatever a user's code does
        raise NotRebuilt(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from None


class _Met(BaseException):
    """The network was met; no `except Exception` of a user's code is to take this for an error."""


def _of_generator(trainable: Trainable, config: Mapping[str, Any], data: Data, folder: Path) -> nn.Module:
    """The network that the generator trains, as it stands before it is trained, if it can be met there."""
    wanted = {name: tuple(tensor.shape) for name, tensor in state.read_tensors(folder / WEIGHTS).items()}
    met: list[nn.Module] = []

    def look(module: nn.Module, inputs: Any) -> None:
        network = state.plain(module)
        weights = state.weights_of(network, lazy=True)[0]
        if {name: tuple(tensor.shape) for name, tensor in weights.items()} == wanted:
            met.append(network)
            raise _Met

    epochs = started(trainable, config, data)
    handle = register_module_forward_pre_hook(look)
    try:
        with contextlib.suppress(_Met):
            epoch = next(epochs, None)
            if isinstance(epoch, Epoch) and epoch.model is not None:
                met.append(state.plain(epoch.model))
    finally:
        handle.remove()
        with contextlib.suppress(Exception):
            getattr(epochs, "close", lambda: None)()
    if not met:
        raise NotRebuilt("its generator calls and yields no network with the weights of the checkpoint")
    return met[0]
