"""scikit-learn's 8x8 digits with a small CNN: no download, seconds per trial, a first look at everything."""

from spaces.study import Choice, Float, Int, Study
from trainables.cnn import train_cnn

STUDY = Study(
    trainable=train_cnn,
    dataset="digits",
    sampler="tpe",
    scheduler="asha",
    epochs=9,
    space={
        "model/depth": Int(1, 3),
        "model/width": Int(8, 32, log=True),
        "model/activation": Choice("relu", "gelu", "tanh"),
        "model/dropout": Float(0.0, 0.5),
        "train/optimizer": Choice("sgd", "adamw"),
        "train/lr": Float(1e-3, 1.0, log=True),
        "train/momentum": Float(0.5, 0.99, when={"train/optimizer": "sgd"}),
        "train/batch_size": Choice(16, 32, 64),
    },
    start=[
        {
            "model/depth": 2,
            "model/width": 16,
            "model/activation": "relu",
            "model/dropout": 0.1,
            "train/optimizer": "sgd",
            "train/lr": 0.1,
            "train/momentum": 0.9,
            "train/batch_size": 32,
        },
        {
            "model/depth": 2,
            "model/width": 16,
            "model/activation": "relu",
            "model/dropout": 0.1,
            "train/optimizer": "adamw",
            "train/lr": 0.01,
            "train/batch_size": 32,
        },
    ],
    trials=16,
    val_fraction=0.2,
)
