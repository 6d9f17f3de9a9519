"""scikit-learn's 8x8 digits with a perceptron: from softmax regression to three hidden layers."""

from spaces.study import Choice, Float, Int, Study
from trainables.mlp import train_mlp

STUDY = Study(
    trainable=train_mlp,
    dataset="digits",
    sampler="tpe",
    scheduler="asha",
    epochs=9,
    space={
        "model/depth": Int(0, 3),
        "model/width": Int(16, 256, log=True),
        "model/activation": Choice("relu", "gelu", "tanh"),
        "model/batch_norm": Choice(False, True),
        "model/dropout": Float(0.0, 0.5),
        "train/optimizer": Choice("sgd", "adam", "rmsprop"),
        "train/lr": Float(1e-4, 1.0, log=True),
        "train/momentum": Float(0.5, 0.99, when={"train/optimizer": "sgd"}),
        "train/batch_size": Choice(16, 32, 64),
    },
    start=[
        {
            "model/depth": 1,
            "model/width": 128,
            "model/activation": "relu",
            "model/batch_norm": True,
            "model/dropout": 0.1,
            "train/optimizer": "sgd",
            "train/lr": 0.1,
            "train/momentum": 0.9,
            "train/batch_size": 32,
        },
        {
            "model/depth": 2,
            "model/width": 128,
            "model/activation": "relu",
            "model/batch_norm": True,
            "model/dropout": 0.1,
            "train/optimizer": "adam",
            "train/lr": 0.005,
            "train/batch_size": 32,
        },
    ],
    trials=24,
    val_fraction=0.2,
)
