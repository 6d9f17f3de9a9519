"""What a search is going to do and what it found, as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search.findings import audit, confirmed
from search.findings.text import clock, short

if TYPE_CHECKING:  # names and no more, for which nobody need wait for Optuna
    from search.record.header import Header
    from spaces.study import Study


def setup(study: Study, header: Header) -> str:
    """What a search is going to do, as lines of text."""
    budget = [f"{header.trials} trials", f"{study.epochs} epochs each"]
    if header.time_budget:
        budget.append(f"{clock(header.time_budget)} in all")
    if header.until_settled:
        budget.append("until settled")
    if header.confirm:
        budget.append(f"the best {header.confirm} confirmed with {header.confirm_seeds} fresh seeds each")
    rows = [
        ("study", f"{header.study}: {header.about}"),
        (
            "data",
            f"{header.dataset} ({header.where}): {header.train_images} train, {header.val_images} validation",
        ),
        ("budget", ", ".join(budget)),
        ("rungs", f"{header.scheduler}: compared after epoch " + ", ".join(map(str, header.rungs)))
        if header.rungs
        else ("rungs", f"{header.scheduler}: every trial trains to the end"),
        ("sampler", f"{header.sampler}, seed {header.seed}, {_first(study, header.published)} first"),
        *(
            [("to beat", f"test accuracy {header.published:.4f}, published; claimed, not trained: --published does")]
            if header.published is not None and not study.published
            else []
        ),
        (
            "resources",
            f"{header.at_a_time} at a time, each {header.cpus:g} CPU"
            + (f" and {header.gpus:g} GPU" if header.gpus else "")
            + (", or no GPU where none is free" if header.also_cpus else ""),
        ),
        ("mlflow", header.tracking_uri),
    ]
    width = max(len(name) for name in [*study.ranges, *study.fixed])
    lines = [f"{name:<10} {text}" for name, text in rows]
    lines.append("space")
    lines += [f"  {name:<{width}}  {range_}{_when(range_)}" for name, range_ in study.ranges.items()]
    if study.fixed:
        lines.append("fixed")
        lines += [f"  {name:<{width}}  {value}" for name, value in sorted(study.fixed.items())]
    return "\n".join(lines)


def _first(study: Study, claim: float | None) -> str:
    start = f"{len(study.start)} start point{'' if len(study.start) == 1 else 's'}"
    count = len(study.published)
    published = "the published setting" if count == 1 else f"{count} published settings"
    published += f" (test accuracy {claim:.2%})" if claim is not None else ""
    return f"{published} and {start}" if study.published else start


def _when(range_: Any) -> str:
    conditions = ", ".join(f"{name}={value}" for name, value in range_.when.items())
    return f"   when {conditions}" if conditions else ""


def result(summary: dict[str, Any]) -> str:
    """The winner, for people."""
    best, places, times = summary["best"], summary["mlflow"], summary["test_openings"]
    opened = "measured once" if times == 1 else f"the test set was opened {times} times"
    lines = [f"winner of {summary['name']}: trial {best['trial']}, epoch {best['epoch']}"]
    if best["confirmed_from"] is not None:
        lines[0] += f", which confirms trial {best['confirmed_from']}"
    lines += [f"  {key} = {short(value)}" for key, value in best["config"].items()]
    if best["metric"] != "val_accuracy":
        lines.append(f"{best['metric']:<19} {best[best['metric']]:.4f}")
    lines.append(f"validation accuracy {best['val_accuracy']:.4f}" if "val_accuracy" in best else "")
    if summary["confirmation"] is not None:
        lines += confirmed.lines(summary["confirmation"])
    if summary["settled"] is not None:
        told = summary["settled"]
        lines.append(
            f"settled             after {told['trials']} trials: as many more as were looked at would gain "
            f"{told['expected_gain']:.5f}, a seed decides {told['spread']:.5f}"
        )
    if summary["audit"] is not None:
        lines += audit.lines(summary["audit"])
    if best["test_accuracy"] is not None:
        lines.append(f"test accuracy       {best['test_accuracy']:.4f}  ({opened}, on {best['test_images']} images)")
    elif summary["state"] == "done":
        lines.append("test accuracy       not measured")
    if summary["published"] is not None:
        claim = summary["published"]
        how = "trained here too" if claim["trained"] else "claimed, not trained here"
        lines.append(f"published           {claim['test_accuracy']:.4f}  ({how})")
    if summary["stand_in"]:
        lines.append(f"STAND-IN DATA: these numbers say nothing about {summary['dataset']}")
    if places.get("parent_run_id"):
        page = f"/#/experiments/{places['experiment_id']}/runs/{places['parent_run_id']}"
        served = places["tracking_uri"].startswith("http")
        lines.append(f"MLflow   {places['tracking_uri'] if served else summary['ui'] + '   then '}{page}")
    if places.get("model_uri"):
        lines.append(f"model    mlflow.pyfunc.load_model({places['model_uri']!r})")
        lines.append(f"         with MLFLOW_TRACKING_URI={places['tracking_uri']}")
    elif best["checkpoint"]:
        lines.append(f"weights  {summary['run_dir']}/checkpoints/{best['checkpoint']}")
    if summary["report"]:
        lines.append(f"report   {summary['report']}")
    lines.append(f"record   {summary['run_dir']}")
    return "\n".join(line for line in lines if line)
