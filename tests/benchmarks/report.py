"""What every benchmark prints: machine, versions, a table, and one JSON document."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch


def machine() -> dict[str, str]:
    """Processor, cores and versions, without which a number means nothing."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
        flags = next((line for line in lines if line.startswith("flags")), "")
        model += ", AVX-512 BF16" if "avx512_bf16" in flags else ", no AVX-512" if "avx512f" not in flags else ""
    packages = {name: version(name) for name in ("torch", "ray", "optuna", "mlflow")}
    return {"processor": model, "cores": str(torch.get_num_threads()), "python": platform.python_version(), **packages}


def spread(values: Sequence[float]) -> str:
    """`0.97 (0.95 … 0.99, n=5)`: median, range and number."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} … {max(values):.3g}, n={len(values)})"


def search(*arguments: str, cwd: Path) -> dict:
    """Run `python -m search … --json --quiet` and return its document."""
    command = [sys.executable, "-m", "search", *arguments, "--json", "--quiet"]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def show(title: str, rows: Sequence[tuple[str, str, str]], document: dict, *, as_json: bool) -> None:
    """Print `(what, measured, aim)` rows, or the document."""
    document = {"machine": machine(), "command": " ".join(sys.argv), **document}
    if as_json:
        print(json.dumps(document, indent=1))
        return
    print(f"{title}  ({', '.join(f'{key} {value}' for key, value in document['machine'].items())})")
    width = max(len(row[0]) for row in rows)
    for what, measured, aim in rows:
        print(f"  {what:<{width}}  {measured:<40}  {aim}")
