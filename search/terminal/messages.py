"""What a search is going to do and what came of it, as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search.findings import audit, confirmed, experience
from search.findings.text import clock, short

if TYPE_CHECKING:  # names and no more, for which nobody need wait for Optuna
    from search.record.header import Header
    from spaces.study import Study

TEST = {"balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1", "roc_auc": "ROC AUC"}
"""What is measured on the test set beside accuracy, as people call it."""


def setup(study: Study, header: Header) -> str:
    """What a search is going to do."""
    compared = "compared after epoch " + ", ".join(map(str, header.rungs))
    rows = [
        ("study", f"{header.study}: {header.about}"),
        ("data", _data(header)),
        ("budget", _budget(study, header)),
        ("rungs", f"{header.scheduler}: {compared if header.rungs else 'every trial trains to the end'}"),
        ("sampler", f"{header.sampler}, seed {header.seed}, {_first(study, header.published)} first"),
    ]
    if header.published is not None and not study.published:
        claim = f"test accuracy {header.published:.4f}, published; claimed, not trained: --published does"
        rows.append(("to beat", claim))
    rows += [("resources", _resources(header)), ("mlflow", header.tracking_uri)]
    return "\n".join([*(f"{name:<10} {text}" for name, text in rows), *_hyperparameters(study)])


def _data(header: Header) -> str:
    if not header.dataset:
        return header.where
    return f"{header.dataset} ({header.where}): {header.train_images} train, {header.val_images} validation"


def _budget(study: Study, header: Header) -> str:
    parts = [f"{header.trials} trials", f"{study.epochs} epochs each"]
    if header.time_budget:
        parts.append(f"{clock(header.time_budget)} in all")
    if header.until_settled:
        parts.append("until settled")
    if header.confirm:
        parts.append(f"the best {header.confirm} confirmed with {header.confirm_seeds} fresh seeds each")
    return ", ".join(parts)


def _first(study: Study, claim: float | None) -> str:
    start = f"{len(study.start)} start point{'' if len(study.start) == 1 else 's'}"
    count = len(study.published)
    published = "the published setting" if count == 1 else f"{count} published settings"
    published += f" (test accuracy {claim:.2%})" if claim is not None else ""
    return f"{published} and {start}" if study.published else start


def _resources(header: Header) -> str:
    gpus = f" and {header.gpus:g} GPU" if header.gpus else ""
    gpus += ", or no GPU where none is free" if header.also_cpus else ""
    return f"{header.at_a_time} at a time, each {header.cpus:g} CPU{gpus}"


def _hyperparameters(study: Study) -> list[str]:
    width = max(len(name) for name in [*study.ranges, *study.fixed])
    lines = ["space", *(f"  {name:<{width}}  {range_}{_when(range_)}" for name, range_ in study.ranges.items())]
    if study.fixed:
        lines += ["fixed", *(f"  {name:<{width}}  {value}" for name, value in sorted(study.fixed.items()))]
    return lines


def _when(range_: Any) -> str:
    conditions = ", ".join(f"{name}={value}" for name, value in range_.when.items())
    return f"   when {conditions}" if conditions else ""


def result(summary: dict[str, Any]) -> str:
    """The winner of a search by its `summarize`; there must be one."""
    best = summary["best"]
    winner = f"winner of {summary['name']}: trial {best['trial']}, epoch {best['epoch']}"
    if best["confirmed_from"] is not None:
        winner += f", which confirms trial {best['confirmed_from']}"
    config = [f"  {name} = {short(value)}" for name, value in best["config"].items()]
    return "\n".join([winner, *config, *_values(summary), *_places(summary)])


def _values(summary: dict[str, Any]) -> list[str]:
    """What the winner is worth, and what is known of how far that can be believed."""
    best, settled, claim = summary["best"], summary["settled"], summary["published"]
    lines = []
    if best["metric"] != "val_accuracy":
        lines.append(f"{best['metric']:<19} {best[best['metric']]:.4f}")
    if "val_accuracy" in best:
        lines.append(f"validation accuracy {best['val_accuracy']:.4f}")
    if summary["confirmation"] is not None:
        lines += confirmed.lines(summary["confirmation"])
    if settled is not None:
        lines.append(
            f"settled             after {settled['trials']} trials: as many more as were looked at would gain "
            f"{settled['expected_gain']:.5f}, a seed decides {settled['spread']:.5f}"
        )
    if summary["experience"] is not None:
        lines.append(f"experience          {experience.line(summary['experience'], best['metric'])}")
    if summary["audit"] is not None:
        lines += audit.lines(summary["audit"])
    lines += _tested(summary)
    if claim is not None:
        how = "trained here too" if claim["trained"] else "claimed, not trained here"
        lines.append(f"published           {claim['test_accuracy']:.4f}  ({how})")
    if summary["stand_in"]:
        lines.append(f"STAND-IN DATA: these numbers say nothing about {summary['dataset']}")
    return lines


def _tested(summary: dict[str, Any]) -> list[str]:
    """What the test set gave, and how often it was opened."""
    best, metrics = summary["best"], summary["best"]["test_metrics"] or {}
    if best["test_accuracy"] is None and not metrics:
        return ["test accuracy       not measured"] if summary["state"] == "done" else []
    times = summary["test_openings"]
    how = "measured once" if times == 1 else f"the test set was opened {times} times"
    how += f", on {best['test_images']} images" if best["test_images"] is not None else ""
    how += ", by its script" if best["command"] else ""
    said = {"accuracy": best["test_accuracy"], **(metrics if best["command"] else {})}
    lines = [f"{f'test {name}':<19} {value:.4f}  ({how})" for name, value in said.items() if value is not None]
    if "balanced_accuracy" in metrics and not best["command"]:
        others = [f"{TEST[name]} {value:.4f}" for name, value in metrics.items() if name in TEST]
        lines.append(f"                    {', '.join(others)}")
    if best["no_better_than_largest_class"]:
        lines.append("NO BETTER THAN ALWAYS SAYING THE LARGEST CLASS, as far as the test set can tell")
    return lines


def _places(summary: dict[str, Any]) -> list[str]:
    """Where all of it is: a script's command, MLflow, model or weights, report, record."""
    mlflow, checkpoint = summary["mlflow"], summary["best"]["checkpoint"]
    uri, lines = mlflow["tracking_uri"], []
    if summary["best"]["command"]:
        lines.append(f"command  {summary['best']['command']}")
    if mlflow["link"]:
        served = uri.startswith("http")
        lines += (
            [f"MLflow   {mlflow['link']}"] if served else [f"MLflow   {summary['ui']}", f"         {mlflow['link']}"]
        )
    if mlflow.get("file"):
        lines += [
            f"model    mlflow.artifacts.download_artifacts({mlflow['model_uri']!r})",
            f"         {mlflow['file']}, which its script can read",
            f"         with MLFLOW_TRACKING_URI={uri}",
        ]
    elif mlflow.get("model_uri"):
        lines += [
            f"model    mlflow.pyfunc.load_model({mlflow['model_uri']!r})",
            f"         with MLFLOW_TRACKING_URI={uri}",
        ]
    elif checkpoint:
        lines.append(f"weights  {summary['run_dir']}/checkpoints/{checkpoint}")
    if summary["report"]:
        lines.append(f"report   {summary['report']}")
    return [*lines, f"record   {summary['run_dir']}"]
