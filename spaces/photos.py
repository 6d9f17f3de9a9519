"""Photos of your own: a head, and if it helps some stages, on a backbone that ImageNet has trained."""

from spaces.study import Choice, Float, Int, Study
from trainables.photos import train_photos

STUDY = Study(
    trainable=train_photos,
    dataset="photos",
    epochs=9,
    space={
        "model/trained_stages": Int(0, 2),
        "model/image_size": Choice(128, 160, 192, 224),
        "model/dropout": Float(0.0, 0.6),
        "model/mirror": Choice(False, True),
        "train/flip": Choice(False, True),
        "train/views": Choice(0, 1, 3),
        "train/crop": Choice(0.4, 0.7),
        "train/optimizer": Choice("sgd", "adamw"),
        "train/lr": Float(1e-4, 1e-1, log=True),
        "train/backbone_lr": Float(1e-5, 1e-2, log=True),
        "train/weight_decay": Float(1e-5, 1.0, log=True),
        "train/label_smoothing": Float(0.0, 0.2),
        "train/mixup": Float(0.0, 0.4),
        "train/batch_size": Choice(16, 32, 64),
    },
    fixed={
        "model/backbone": "efficientnet_lite0",
        "train/schedule": "cosine",
        "train/warmup": 0.1,
        "train/average": 0.0,
    },
    trials=64,
    time_budget=285,
    val_fraction=0.2,
)
