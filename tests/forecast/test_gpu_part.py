"""What is made of configurations that were tried in a part of a GPU, and how they are tried."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import cloudpickle

from search.errors import EnvironmentFault
from search.forecast.gpu_part import verdict
from search.forecast.probe import DIED, LATE, Measured, measure
from trainables.data import Data

FITS = Measured(0.1, memory=10**6)
SHORT = Measured(fault="out of memory: made up")
DIVERGED = Measured(memory=10**6, fault="the loss became nan at step 17 of epoch 3")
LATER = Measured(fault=LATE)
RAISED = Measured(fault="ValueError: made up")
KILLED = Measured(fault="was killed, as the system does to a process that takes too much memory")


def judged(**came: Measured) -> str:
    """The verdict on configurations by their names, `_` for a space; each has a width of its own."""
    points = [(name.replace("_", " "), {"model/width": number}) for number, name in enumerate(came)]
    return verdict(points, list(came.values()), 0.25)


def test_where_all_fit_or_diverge_nothing_is_said() -> None:
    assert judged(start_0=FITS, low=FITS, high=DIVERGED, random_0=LATER) == ""


@pytest.mark.parametrize("wanted", ["start_0", "published_1"])
def test_one_start_point_or_published_setting_without_room_is_enough_to_refuse(wanted: str) -> None:
    with pytest.raises(EnvironmentFault) as error:
        judged(**dict.fromkeys(("low", "high", "random_0"), FITS), **{wanted: SHORT})
    name = wanted.replace("_", " ")
    assert str(error.value) == (
        "0.25 of a GPU is too small: of 4 configurations tried in it 1 ran out of memory, "
        f"{name} (width=3); give trials a larger --gpus"
    )


@pytest.mark.parametrize("unknown", [LATER, RAISED, KILLED])
def test_half_of_those_of_which_it_is_known_are_refused_and_fewer_are_one_warning(unknown: Measured) -> None:
    with pytest.raises(EnvironmentFault, match="of 2 configurations tried in it 1 ran out of memory"):
        judged(start_0=FITS, high=SHORT, random_0=unknown, random_1=unknown)
    told = judged(start_0=FITS, low=FITS, high=SHORT, random_0=unknown)
    assert told.startswith("of 3 configurations tried in 0.25 of a GPU 1 ran out of memory, high (width=2); ")
    assert told.endswith("fit with a larger --gpus")
    assert "\n" not in told


def test_no_more_than_three_are_named_and_start_points_first() -> None:
    with pytest.raises(EnvironmentFault) as error:
        judged(low=SHORT, high=SHORT, random_0=SHORT, start_0=SHORT, random_1=SHORT)
    assert "start 0 (width=3), low (width=0), high (width=1) and 2 more;" in str(error.value)


@pytest.mark.parametrize("unknown", [LATER, RAISED, KILLED])
def test_where_nothing_is_known_that_is_said_with_the_reason(unknown: Measured) -> None:
    told = judged(start_0=unknown, low=unknown)
    assert told.startswith(f"whether trials fit into 0.25 of a GPU could not be tried (start 0: {unknown.fault})")


class Device:
    """A trainable that, where it is unpickled, puts a GPU there that knows only which part of it one keeps to."""

    def __reduce__(self) -> Any:
        return _on_a_device, ()


def _on_a_device() -> Any:
    import torch

    kept: list[float] = []
    torch.cuda.is_available = lambda: True
    torch.cuda.set_per_process_memory_fraction = kept.append  # type: ignore[assignment]

    def train(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Any:
        raise torch.OutOfMemoryError(f"kept to {kept[-1:]}")

    return train


@pytest.mark.parametrize(("gpus", "kept"), [(0.25, [0.25]), (1.0, [])])
def test_each_configuration_keeps_to_the_part_of_a_device_that_a_trial_keeps_to(
    gpus: float, kept: list[float], tiny_data: Data
) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        sent = cloudpickle.dumps(Device())
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    told = measure(sent, tiny_data, [{}, {}], cpus=1, gpus=gpus, lanes=1, seconds=20.0)
    assert [result.fault for result in told.results] == [f"out of memory: kept to {kept}"] * 2
    assert all(result.out_of_memory for result in told.results)


def _wayward(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Any:
    if config["model/kind"] == "dies":
        os.kill(os.getpid(), signal.SIGSEGV)
    if config["model/kind"] == "leaves":
        os._exit(0)
    if config["model/kind"] == "hangs":
        signal.pause()
    if config["model/kind"] == "greedy":
        raise torch.OutOfMemoryError("made up")
    raise ValueError(f"process {os.getpid()}")


@pytest.mark.nightly
def test_on_a_gpu_one_process_tries_one_configuration_after_the_other_and_another_goes_on_where_it_ended(
    tiny_data: Data,
) -> None:
    """The start of CUDA takes a process seconds."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        sent = cloudpickle.dumps(_wayward)
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    kinds = ("well", "greedy", "well", "dies", "well", "leaves", "well", "hangs", "well")
    configs = [{"model/kind": kind} for kind in kinds]
    told = measure(sent, tiny_data, configs, cpus=1, gpus=0.25, lanes=1, seconds=12.0)
    faults = [result.fault for result in told.results]
    assert faults[1] == "out of memory: made up"
    assert faults[3:8:2] == ["died of SIGSEGV", "ended with exit code 0", "came to no end in the time for it"]
    processes = [faults[number] for number in (0, 2, 4, 6, 8)]
    assert all(fault.startswith("ValueError: process ") for fault in processes)
    assert processes[0] == processes[1]
    assert len(set(processes)) == 4


def test_a_trainable_that_cannot_be_had_there_is_no_matter_of_time(tiny_data: Data) -> None:
    told = measure(b"no pickle", tiny_data, [{}], cpus=1, gpus=0.25, lanes=1, seconds=20.0)
    assert [result.fault for result in told.results] == [DIED]
