"""Fashion-MNIST with a CNN: how wide, how deep, how hard to push in ten minutes on two cores."""

from spaces.study import Choice, Float, Int, Published, Study
from trainables.cnn import train_cnn

STUDY = Study(
    trainable=train_cnn,
    dataset="fashion_mnist",
    sampler="tpe",
    scheduler="asha",
    epochs=14,
    space={
        "model/depth": Int(2, 4),
        "model/width": Int(8, 32, log=True),
        "model/residual": Choice(True, False),
        "model/activation": Choice("relu", "gelu", "silu"),
        "model/dropout": Float(0.0, 0.5),
        "train/optimizer": Choice("sgd", "adamw"),
        "train/lr": Float(1e-3, 0.5, log=True),
        "train/momentum": Float(0.8, 0.98, when={"train/optimizer": "sgd"}),
        "train/beta1": Float(0.8, 0.98, when={"train/optimizer": "adamw"}),
        "train/batch_size": Choice(64, 128, 256),
        "train/weight_decay": Float(1e-5, 1e-1, log=True),
        "train/label_smoothing": Float(0.0, 0.2),
    },
    fixed={
        "train/schedule": "linear",
        "train/warmup": 0.05,
        "train/flip": True,
        "train/average": 0.98,
        "model/mirror": True,
    },
    published=[
        Published(
            {
                "model/channels": "32-64-128",
                "model/residual": False,
                "model/activation": "relu",
                "model/hidden_depth": 2,
                "model/hidden_width": 512,
                "model/dropout": 0.4,
                "model/mirror": False,
                "train/optimizer": "sgd",
                "train/lr": 0.01,
                "train/momentum": 0.9,
                "train/nesterov": False,
                "train/weight_decay": 0.0,
                "train/label_smoothing": 0.0,
                "train/batch_size": 64,
                "train/precision": "float32",
                "train/schedule": "constant",
                "train/warmup": 0.0,
                "train/flip": False,
                "train/average": 0.0,
                "train/epochs": 5,
            },
            test_accuracy=0.9153,
        )
    ],
    # Of six configurations trained on MNIST for 4 epochs (one seed), adamw's came first with 0.9938 in validation, and
    # sgd's fifth with 0.9920; the least had 0.9910. So sgd's stands here for what it showed on Fashion-MNIST's own
    # validation part: 0.9414 after 16 epochs, where adamw's had 0.9410. It goes first because it takes less time.
    start=[
        {
            "model/depth": 3,
            "model/width": 16,
            "model/residual": True,
            "model/activation": "relu",
            "model/dropout": 0.1,
            "train/optimizer": "sgd",
            "train/lr": 0.1,
            "train/momentum": 0.9,
            "train/batch_size": 128,
            "train/weight_decay": 5e-4,
            "train/label_smoothing": 0.05,
        },
        {
            "model/depth": 3,
            "model/width": 16,
            "model/residual": True,
            "model/activation": "silu",
            "model/dropout": 0.1,
            "train/optimizer": "adamw",
            "train/lr": 0.005,
            "train/beta1": 0.9,
            "train/batch_size": 128,
            "train/weight_decay": 5e-2,
            "train/label_smoothing": 0.05,
        },
    ],
    trials=64,
    time_budget=585,
    first_rung=2,
)
