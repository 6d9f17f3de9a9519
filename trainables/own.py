"""A network of a user's own, trained by our loop: `Study(network=build)` makes a trainable of `build`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.epoch import Epoch, section

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables.classifier import Classifier
    from trainables.data import Data

Build = Callable[[Mapping[str, Any], "Data"], "nn.Module"]
"""`build(config, data)` gives a network with fresh weights: normalised images `(N, C, H, W)` float32 to logits
`(N, classes)`."""


@dataclass(frozen=True)
class OwnNetwork:
    """A trainable: `build` makes the network, all `train/…` are those of `training.fit`, and the rest is `build`'s.

    What our own networks have around them is around this one too: normalisation by the train part or as
    `model/scaling` says, `model/mirror`, precision, averages, folds, checkpoints, the test and the served model.
    """

    build: Build

    def __call__(self, config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        """Train it. Raises TypeError or ValueError for a network or hyperparameters that cannot be."""
        from trainables.training import train

        return train(OwnBlueprint(self.build, config, data), data, resume=resume, **section(config, "train"))


@dataclass(frozen=True)
class OwnBlueprint:
    """What `build` makes of `config` and `data`, as the loop takes it (`loop.Blueprint`).

    A checkpoint has the weights alone, as safetensors: to build the network again takes the user's code.
    """

    function: Build
    config: Mapping[str, Any]
    data: Data

    @property
    def convolutional(self) -> bool:
        """Whether memory layout matters to it: taken for granted, since to know takes a network."""
        return True

    def build(self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> Classifier:
        """The network with normalisation around it, tried on two images.

        Raises TypeError or ValueError for what is no network, or none for these classes.
        """
        from torch import nn

        from trainables.classifier import scaled
        from trainables.read_only import read_only

        network = self.function(self.config, read_only(self.data))
        if not isinstance(network, nn.Module):
            raise TypeError(f"the function network must return a torch module, but returned a {type(network).__name__}")
        options = section(self.config, "model")
        known = {name: options[name] for name in ("scaling", "mirror") if name in options}
        model = scaled(network, self.data.shape[0], mean, std, **known)
        check_answers(model, self.data)
        return model

    def save(self, folder: Path, model: nn.Module) -> None:
        """Write the weights into `folder`, which exists."""
        from trainables import state
        from trainables.classifier import WEIGHTS

        weights, others = state.weights_of(model)
        if others:
            raise TypeError(f"the network keeps {', '.join(others)} besides tensors, which no checkpoint of ours holds")
        state.write_tensors(weights, folder / WEIGHTS)

    def weights(self, folder: Path) -> dict[str, Tensor]:
        """The weights that `save` wrote."""
        from trainables import state
        from trainables.classifier import WEIGHTS

        return state.read_tensors(folder / WEIGHTS)


def check_answers(model: nn.Module, data: Data) -> None:
    """Call `model` on two images. Raises ValueError unless it gives a logit per class for each; builds lazy layers."""
    import torch

    images = data.val.images[:2] if len(data.val) > 1 else data.train.images[:2]
    training = model.training
    model.eval()
    with torch.no_grad():
        answers = model(images)
    model.train(training)
    wanted = (len(images), len(data.classes))
    given = tuple(answers.shape) if isinstance(answers, torch.Tensor) else f"a {type(answers).__name__}"
    if given != wanted:
        shape = "×".join(map(str, images.shape[1:]))
        raise ValueError(
            f"the network gives {given} for {len(images)} images of {shape}, but must give {wanted}: a logit per class"
        )
