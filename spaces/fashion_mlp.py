"""Fashion-MNIST with a perceptron: what can be had without convolutions, in four minutes on two cores."""

from spaces.study import Choice, Float, Int, Published, Study
from trainables.mlp import train_mlp

STUDY = Study(
    trainable=train_mlp,
    dataset="fashion_mnist",
    epochs=18,
    space={
        "model/depth": Int(1, 4),
        "model/width": Int(64, 1024, log=True),
        "model/activation": Choice("relu", "gelu", "silu"),
        "model/batch_norm": Choice(True, False),
        "model/dropout": Float(0.0, 0.5),
        "train/optimizer": Choice("sgd", "adamw", "rmsprop"),
        "train/lr": Float(1e-4, 0.5, log=True),
        "train/momentum": Float(0.8, 0.98, when={"train/optimizer": "sgd"}),
        "train/beta1": Float(0.8, 0.98, when={"train/optimizer": "adamw"}),
        "train/batch_size": Choice(64, 128, 256),
        "train/weight_decay": Float(1e-5, 1e-1, log=True),
    },
    fixed={
        "train/schedule": "linear",
        "train/warmup": 0.15,
        "train/flip": True,
        "train/average": 0.98,
        "model/mirror": True,
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
                "model/mirror": False,
                "train/optimizer": "sgd",
                "train/lr": 0.01,
                "train/momentum": 0.9,
                "train/nesterov": False,
                "train/weight_decay": 0.0,
                "train/batch_size": 64,
                "train/schedule": "constant",
                "train/warmup": 0.0,
                "train/flip": False,
                "train/average": 0.0,
                "train/epochs": 5,
            },
            test_accuracy=0.8760,
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
        },
        {
            "model/depth": 2,
            "model/width": 512,
            "model/activation": "relu",
            "model/batch_norm": True,
            "model/dropout": 0.2,
            "train/optimizer": "adamw",
            "train/lr": 0.005,
            "train/beta1": 0.9,
            "train/batch_size": 128,
            "train/weight_decay": 5e-2,
        },
    ],
    trials=64,
    time_budget=230,
    first_rung=2,
)
