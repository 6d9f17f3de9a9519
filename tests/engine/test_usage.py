"""How busy a worker's machine is, looked at beside training."""

import sys
import threading
import time
from types import SimpleNamespace

import pytest

from search.engine.usage import Usage
from search.record.events import EpochReport


def looked(usage, seconds=20.0):
    """What `usage` tells as soon as it has looked."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        told = usage.told()
        if told:
            return told["system"]
        time.sleep(0.01)
    raise AssertionError("nobody looked")


def test_the_machine_is_looked_at_by_a_thread_that_ends_with_the_trial(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with Usage(every=0.01) as usage:
        seen = looked(usage)
    assert set(seen) == {
        "cpu_utilization_percentage",
        "system_memory_usage_megabytes",
        "system_memory_usage_percentage",
    }
    assert 0 <= seen["cpu_utilization_percentage"] <= 100
    assert 0 < seen["system_memory_usage_percentage"] < 100
    assert "usage" not in {thread.name for thread in threading.enumerate()}


def test_an_epoch_without_a_look_says_nothing():
    with Usage(every=1000) as usage:
        assert usage.told() == {}
    report = EpochReport(1, {"val_accuracy": 0.5}, 0.1, **usage.told())
    assert "system" not in report.to_plain()


@pytest.fixture
def nvml(monkeypatch):
    """NVIDIA's library with three GPUs, of which the third cannot say how busy it is."""

    def busy(handle):
        if handle == 2:
            raise RuntimeError("lost")
        return SimpleNamespace(gpu=10 * handle)

    made = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=25e6, total=100e6),
        nvmlDeviceGetUtilizationRates=busy,
    )
    monkeypatch.setitem(sys.modules, "pynvml", made)


def test_of_gpus_the_trials_own_are_looked_at(nvml, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with Usage(every=0.01) as usage:
        seen = looked(usage)
        while "gpu_1_utilization_percentage" not in seen:
            seen = looked(usage)
    assert {name: value for name, value in seen.items() if name.startswith("gpu")} == {
        "gpu_1_memory_usage_percentage": 25.0,
        "gpu_1_memory_usage_megabytes": 25.0,
        "gpu_1_utilization_percentage": 10.0,
    }


def test_a_gpu_that_fails_costs_its_own_look_alone(nvml, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    with Usage(every=0.01) as usage:
        assert "cpu_utilization_percentage" in looked(usage)
        time.sleep(0.1)
        assert not [name for name in looked(usage) if name.startswith("gpu")]
