"""CIFAR-10's airplanes against its birds with a small CNN, with and without a shortcut around each convolution."""

from spaces.space import Value
from spaces.study import Choice, Float, Published, Study
from trainables.cnn import train_cnn

PLAIN: dict[str, Value] = {
    "model/kernel": 5,
    "model/activation": "tanh",
    "model/batch_norm": False,
    "model/dropout": 0.0,
    "model/hidden_depth": 1,
    "model/hidden_width": 32,
    "train/optimizer": "sgd",
    "train/lr": 0.01,
    "train/momentum": 0.0,
    "train/batch_size": 64,
    "train/weight_decay": 0.001,
    "train/precision": "float32",
    "train/schedule": "constant",
    "train/warmup": 0.0,
    "train/flip": False,
    "train/average": 0.0,
    "train/epochs": 100,
}
"""What both published networks share. Their 100 epochs are cut to the 30 that a trial has here; --epochs 100 gives all.

Which momentum they used is not known; 0 is what SGD has if nothing is said.
"""

STUDY = Study(
    trainable=train_cnn,
    dataset="cifar2",
    sampler="tpe",
    scheduler="asha",
    epochs=30,
    space={
        "model/channels": Choice("16-8", "16-32", "32-16-16", "32-64", "32-64-64"),
        "model/kernel": Choice(3, 5, "1x3"),
        "model/residual": Choice(False, True),
        "model/activation": Choice("tanh", "relu", "gelu", "silu"),
        "model/batch_norm": Choice(True, False),
        "model/dropout": Float(0.0, 0.5),
        "train/optimizer": Choice("sgd", "adamw"),
        "train/lr": Float(1e-3, 0.5, log=True),
        "train/momentum": Float(0.0, 0.98, when={"train/optimizer": "sgd"}),
        "train/batch_size": Choice(32, 64, 128),
        "train/weight_decay": Float(1e-5, 1e-1, log=True),
    },
    fixed={
        "model/hidden_depth": 1,
        "model/hidden_width": 32,
        "train/schedule": "linear",
        "train/warmup": 0.15,
        "train/flip": True,
        "train/average": 0.98,
    },
    published=[
        Published({**PLAIN, "model/channels": "16-8", "model/residual": False}),
        Published({**PLAIN, "model/channels": "32-16-16", "model/residual": True}),
    ],
    start=[
        {
            "model/channels": "32-64-64",
            "model/kernel": 3,
            "model/residual": True,
            "model/activation": "relu",
            "model/batch_norm": True,
            "model/dropout": 0.1,
            "train/optimizer": "sgd",
            "train/lr": 0.05,
            "train/momentum": 0.9,
            "train/batch_size": 64,
            "train/weight_decay": 5e-4,
        },
    ],
    trials=48,
    time_budget=600,
    first_rung=2,
)
