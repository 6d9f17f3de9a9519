"""How busy a worker's machine is while a trial trains, as MLflow names it. Runs in worker processes.

A thread of its own looks once a second, so nothing of it is on the path of training, and an epoch that is shorter may
have no look. The names are those of MLflow's system metrics (mlflow/system_metrics/metrics, 3.17), where they stand
behind `system/`; as there, they are of the whole machine, but of GPUs only the trial's own are looked at.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

EVERY_SECONDS = 1.0

Sample = dict[str, float]


class Usage:
    """Looks while it is entered; `told` gives what it saw since it was last asked."""

    def __init__(self, every: float = EVERY_SECONDS) -> None:
        self._every = every
        self._looks: list[Callable[[], Sample]] = []
        self._sums: dict[str, tuple[float, int]] = {}
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._loop, name="usage", daemon=True)

    def __enter__(self) -> Usage:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def told(self) -> dict[str, Sample]:
        """`{"system": means}` since it was last asked; {} if there was no look."""
        with self._lock:
            sums, self._sums = self._sums, {}
        means = {name: round(total / count, 1) for name, (total, count) in sums.items()}
        return {"system": means} if means else {}

    def _loop(self) -> None:
        self._looks = [look for look in (_processor(), _gpus(os.environ.get("CUDA_VISIBLE_DEVICES", ""))) if look]
        while not self._over.wait(self._every):
            for look in self._looks:
                try:
                    seen = look()
                except Exception:  # a driver that is being replaced; the trial has no need of this
                    continue
                with self._lock:
                    for name, value in seen.items():
                        total, count = self._sums.get(name, (0.0, 0))
                        self._sums[name] = (total + value, count + 1)


def _processor() -> Callable[[], Sample] | None:
    import psutil

    psutil.cpu_percent()  # from now on

    def look() -> Sample:
        memory = psutil.virtual_memory()
        return {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": 100 * memory.used / memory.total,
        }

    return look


def _gpus(visible: str) -> Callable[[], Sample] | None:
    """A look at the GPUs whose numbers are `visible` to this process; None without any, or without NVML for Python."""
    numbers = [int(each) for each in visible.split(",") if each.strip().isdigit()]
    if not numbers:
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        handles: dict[int, Any] = {number: pynvml.nvmlDeviceGetHandleByIndex(number) for number in numbers}
    except Exception:  # it is not installed, or finds no driver
        return None

    def look() -> Sample:
        seen = {}
        for number, handle in handles.items():
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            seen[f"gpu_{number}_memory_usage_percentage"] = 100 * memory.used / memory.total
            seen[f"gpu_{number}_memory_usage_megabytes"] = memory.used / 1e6
            seen[f"gpu_{number}_utilization_percentage"] = float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        return seen

    return look
