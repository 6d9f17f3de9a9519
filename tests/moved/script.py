"""Train a ResNet on a folder of photos: `train/<class>/*.jpg`, and `val/` and `test/` likewise."""

import argparse
import json
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

from search.report import model

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default="photos")
    parser.add_argument("--out", type=Path, default="out")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--label-smoothing", type=float, default=0.0)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--evaluate", action="store_true")
    return parser.parse_args()


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


def main():
    options = arguments()
    torch.manual_seed(options.seed)
    options.out.mkdir(exist_ok=True)
    last = options.out / "last.pt"
    train_set = datasets.ImageFolder(options.data / "train", moving(options.size))
    val_set = datasets.ImageFolder(options.data / "val", still(options.size))
    test_set = datasets.ImageFolder(options.data / "test", still(options.size))
    train_loader = DataLoader(train_set, options.batch_size, shuffle=True, drop_last=True)
    val_loader = DataLoader(val_set, options.batch_size)
    test_loader = DataLoader(test_set, options.batch_size)
    net = network(len(train_set.classes), options.dropout)
    if options.evaluate:
        net.load_state_dict(torch.load(options.out / "best.pt"))
        accuracy = evaluate(net, test_loader)["val_accuracy"]
        print(f"test accuracy {accuracy:.4f}")
        return
    optimizer = torch.optim.SGD(
        net.parameters(), lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    loss_of = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
    best, done = -1.0, 0
    if last.exists():
        state = torch.load(last)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        best, done = state["best"], state["epoch"]
    for epoch in range(done + 1, options.epochs + 1):
        train_loss = train_epoch(net, train_loader, optimizer, loss_of)
        scheduler.step()
        metrics = {"train_loss": train_loss, **evaluate(net, val_loader)}
        if metrics["val_accuracy"] > best:
            best = metrics["val_accuracy"]
            torch.save(net.state_dict(), options.out / "best.pt")
            model(net, next(iter(val_loader))[0])
        parts = {"net": net, "optimizer": optimizer, "scheduler": scheduler}
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save({**state, "best": best, "epoch": epoch}, last)
        print(json.dumps({"epoch": epoch, **metrics}), flush=True)


if __name__ == "__main__":
    main()
