"""MNIST with a perceptron: two hidden layers, and what batch norm, dropout and shifted images add."""

from spaces.study import Choice, Float, Int, Published, Study
from trainables.mlp import train_mlp

STUDY = Study(
    trainable=train_mlp,
    dataset="mnist",
    sampler="tpe",
    scheduler="asha",
    epochs=12,
    space={
        "model/depth": Int(1, 3),
        "model/width": Int(64, 1024, log=True),
        "model/activation": Choice("relu", "gelu", "silu"),
        "model/batch_norm": Choice(True, False),
        "model/dropout": Float(0.0, 0.5),
        "train/optimizer": Choice("sgd", "adamw"),
        "train/lr": Float(1e-4, 0.5, log=True),
        "train/momentum": Float(0.8, 0.98, when={"train/optimizer": "sgd"}),
        "train/beta1": Float(0.8, 0.98, when={"train/optimizer": "adamw"}),
        "train/batch_size": Choice(64, 128, 256),
        "train/weight_decay": Float(1e-5, 1e-1, log=True),
        "train/shift": Int(0, 2),
    },
    fixed={
        "train/schedule": "linear",
        "train/warmup": 0.15,
        "train/average": 0.98,
    },
    published=[
        Published(
            {
                "model/depth": 2,
                "model/width": 512,
                "model/activation": "relu",
                "model/batch_norm": False,
                "model/dropout": 0.0,
                "model/scaling": "symmetric",
                "train/optimizer": "sgd",
                "train/lr": 0.01,
                "train/momentum": 0.9,
                "train/nesterov": False,
                "train/weight_decay": 0.0,
                "train/batch_size": 64,
                "train/precision": "float32",
                "train/schedule": "constant",
                "train/warmup": 0.0,
                "train/shift": 0,
                "train/average": 0.0,
                "train/epochs": 5,
            },
            test_accuracy=0.9745,
        )
    ],
    start=[
        {
            "model/depth": 2,
            "model/width": 512,
            "model/activation": "relu",
            "model/batch_norm": True,
            "model/dropout": 0.2,
            "train/optimizer": "sgd",
            "train/lr": 0.1,
            "train/momentum": 0.9,
            "train/batch_size": 128,
            "train/weight_decay": 5e-4,
            "train/shift": 1,
        },
    ],
    trials=64,
    time_budget=240,
    first_rung=2,
)
