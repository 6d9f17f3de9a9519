"""MNIST, one hidden layer, with and without ReLU and with every other activation: a comparison, not a tuning."""

from spaces.study import Choice, Study
from trainables.mlp import train_mlp

STUDY = Study(
    trainable=train_mlp,
    dataset="mnist",
    epochs=50,
    space={
        "model/activation": Choice(
            "identity",
            "relu",
            "leaky_relu",
            "prelu",
            "elu",
            "gelu",
            "silu",
            "tanh",
            "sigmoid",
            "softplus",
            "hard_tanh",
            "hard_sigmoid",
        ),
        # Last, so that every activation has one seed before any has two.
        "train/seed": Choice(0, 1, 2),
    },
    fixed={
        "model/depth": 1,
        "model/width": 512,
        "model/scaling": "unit",
        "train/optimizer": "sgd",
        "train/lr": 0.15,
        "train/momentum": 0.0,
        "train/batch_size": 128,
        "train/schedule": "constant",
    },
    sampler="grid",
    scheduler="none",
    trials=36,
)
