"""Fashion-MNIST with softmax regression: the linear model that everything else has to beat."""

from spaces.study import Choice, Float, Published, Study
from trainables.mlp import train_mlp

STUDY = Study(
    trainable=train_mlp,
    dataset="fashion_mnist",
    sampler="tpe",
    scheduler="asha",
    epochs=10,
    space={
        "model/scaling": Choice("unit", "symmetric", "standard"),
        "train/optimizer": Choice("sgd", "adamw"),
        "train/lr": Float(1e-4, 1.0, log=True),
        "train/momentum": Float(0.0, 0.95, when={"train/optimizer": "sgd"}),
        "train/batch_size": Choice(64, 256, 1024),
        "train/schedule": Choice("constant", "step", "cosine", "one_cycle"),
        "train/weight_decay": Float(1e-6, 1e-2, log=True),
    },
    fixed={"model/depth": 0},
    published=[
        Published(
            {
                "model/depth": 0,
                "model/scaling": "unit",
                "train/optimizer": "sgd",
                "train/lr": 0.1,
                "train/momentum": 0.0,
                "train/weight_decay": 0.0,
                "train/batch_size": 256,
                "train/precision": "float32",
                "train/schedule": "constant",
                "train/epochs": 10,
            }
        )
    ],
    trials=32,
    time_budget=120,
)
