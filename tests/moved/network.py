"""Train a ResNet on a folder of photos: `train/<class>/*.jpg`, and `val/` and `test/` likewise."""

from pathlib import Path

from torch import nn
from torchvision import datasets, models, transforms

from spaces.study import Float, Study
from trainables.own_data import data_of

PHOTOS, SIZE = Path("photos").resolve(), 64


def still(size):
    return transforms.Compose(
        [
            transforms.Resize(size),
            transforms.CenterCrop(size),
            transforms.PILToTensor(),
        ]
    )


def network(classes, dropout):
    net = models.resnet18(num_classes=classes)
    net.fc = nn.Sequential(nn.Dropout(dropout), net.fc)
    return net


def build(config, data):
    return network(len(data.classes), config["dropout"])


def load():
    parts = [datasets.ImageFolder(PHOTOS / part, still(SIZE)) for part in ("train", "val", "test")]
    return data_of(parts[0], parts[1], classes=parts[0].classes, test=parts[2])


STUDY = Study(
    network=build,
    data=load,
    epochs=20,
    space={
        "train/lr": Float(1e-3, 0.5, log=True),
        "train/weight_decay": Float(1e-5, 1e-2, log=True),
        "dropout": Float(0, 0.5),
    },
    fixed={"train/schedule": "cosine", "train/batch_size": 32, "train/flip": True},
)
