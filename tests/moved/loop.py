"""Train a ResNet on a folder of photos: `train/<class>/*.jpg`, and `val/` and `test/` likewise."""

import argparse
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

from spaces.study import Float, Study
from trainables.epoch import Epoch, restore
from trainables.own_data import data_of

PHOTOS, SIZE = Path("photos").resolve(), 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def still(size):
    return transforms.Compose(
        [
            transforms.Resize(size),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def moving(size):
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(0.5, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def network(classes, dropout):
    net = models.resnet18(num_classes=classes)
    net.fc = nn.Sequential(nn.Dropout(dropout), net.fc)
    return net


def train_epoch(net, loader, optimizer, loss_of):
    net.train()
    total = 0.0
    for images, labels in loader:
        loss = loss_of(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    return total / len(loader.dataset)


@torch.no_grad()
def evaluate(net, loader):
    net.eval()
    logits, labels = zip(*((net(images), labels) for images, labels in loader), strict=True)
    logits, labels = torch.cat(logits), torch.cat(labels)
    right = (logits.argmax(1) == labels).float()
    recalls = [right[labels == label].mean() for label in labels.unique()]
    return {
        "val_accuracy": right.mean().item(),
        "val_loss": nn.functional.cross_entropy(logits, labels).item(),
        "val_recall": torch.stack(recalls).mean().item(),
    }


def load():
    parts = [datasets.ImageFolder(PHOTOS / part, still(SIZE)) for part in ("train", "val", "test")]
    return data_of(parts[0], parts[1], classes=parts[0].classes, test=parts[2])


def train(config, data, *, resume=None):
    options = argparse.Namespace(**config, epochs=config["train/epochs"])
    train_set = datasets.ImageFolder(PHOTOS / "train", moving(SIZE))
    val_set = datasets.ImageFolder(PHOTOS / "val", still(SIZE))
    train_loader = DataLoader(train_set, options.batch_size, shuffle=True, drop_last=True)
    val_loader = DataLoader(val_set, options.batch_size)
    net = network(len(train_set.classes), options.dropout)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    loss_of = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
    first = restore(resume, model=net, optimizer=optimizer, scheduler=scheduler)
    for epoch in range(first, options.epochs + 1):
        train_loss = train_epoch(net, train_loader, optimizer, loss_of)
        scheduler.step()
        metrics = {"train_loss": train_loss, **evaluate(net, val_loader)}
        yield Epoch(epoch, metrics, model=net, optimizer=optimizer, scheduler=scheduler)


STUDY = Study(
    trainable=train,
    data=load,
    epochs=20,
    space={"lr": Float(1e-3, 0.5, log=True), "weight_decay": Float(1e-5, 1e-2, log=True), "dropout": Float(0, 0.5)},
    fixed={"momentum": 0.9, "label_smoothing": 0.0, "batch_size": 32},
)
