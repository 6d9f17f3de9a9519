"""A search as files of TensorBoard, read again by the format's own definition: framed records of its protocol."""

import math
import struct

import pytest

from search.errors import BadInput
from search.findings.snapshot import Snapshot
from search.findings.tensorboard_export import write_events
from tests.simulated import kept


def events(folder):
    """What the event files in `folder` say, in order."""
    from tensorboardX.proto.event_pb2 import Event

    for file in sorted(folder.glob("events*")):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def test_each_trial_has_its_curves_and_its_setting_for_hparams(tiny_study, tmp_path):
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    folder, _ = kept(tmp_path / "runs", tiny_study)
    count = write_events(folder, tmp_path / "board")
    trials = Snapshot.read(folder).trials
    assert count == len(trials) == len(list((tmp_path / "board").iterdir()))
    for trial in trials:
        curve, settings, best = [], {}, []
        for event in events(tmp_path / "board" / f"trial-{trial.number:04d}"):
            for value in event.summary.value:
                if value.tag == "val_accuracy":
                    curve.append((event.step, value.simple_value))
                elif value.tag == "best/val_accuracy":
                    best.append(value.simple_value)
                elif value.tag == "_hparams_/session_start_info":
                    data = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                    settings = dict(data.session_start_info.hparams.items())
        rows = [(row.number, row.metrics["val_accuracy"]) for row in trial.epochs]
        assert [step for step, _ in curve] == [number for number, _ in rows]
        assert all(
            (math.isnan(a) and math.isnan(b)) or a == pytest.approx(b)
            for (_, a), (_, b) in zip(curve, rows, strict=True)
        )
        assert settings["train/lr"].number_value == trial.point["train/lr"]
        assert settings["train/optimizer"].string_value == trial.point["train/optimizer"]
        assert settings["model/batch_norm"].bool_value == trial.point["model/batch_norm"]
        assert settings["state"].string_value == str(trial.state)
        assert len(best) == 1


def test_a_folder_with_something_in_it_is_refused_and_left_as_it_is(tiny_study, tmp_path):
    folder, _ = kept(tmp_path / "runs", tiny_study)
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "mine").write_text("mine")
    with pytest.raises(BadInput, match="not empty"):
        write_events(folder, tmp_path / "board")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["board", "runs"]
    assert [path.name for path in (tmp_path / "board").iterdir()] == ["mine"]
