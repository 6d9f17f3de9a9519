"""The address at which MLflow's own pages show a search."""

from __future__ import annotations

import re
from typing import Any

UI_PORT = 5000
"""Where `python -m search ui` serves MLflow's pages, if nobody says otherwise and nobody else is there."""

TRAINING = "workflowType=machine_learning"
"""Opens the pages of model training. Without it a browser that is there for the first time gets those for language
models, whatever the experiment says it is (MLflow 3.17, `WorkflowTypeContext` of its front end)."""


def page(server: str, experiment: str | None = None, run: str | None = None) -> str:
    """The page of `run` at the address `server`; without one that of all runs of `experiment`, or all experiments.

    Without the user name and the password that `server` may have.
    """
    base = re.sub(r"//[^/@]*@", "//", server.partition("?")[0]).rstrip("/")
    place = "/experiments"
    if experiment is not None:
        place += f"/{experiment}/runs" + ("" if run is None else f"/{run}")
    return f"{base}/#{place}?{TRAINING}"


def of_search(place: dict[str, Any]) -> str | None:
    """The page of a search whose runs are at `place`, as `--json` has it; None before it has a run.

    Where MLflow is no server, it is the one that `python -m search ui` serves.
    """
    uri, run = place["tracking_uri"], place.get("parent_run_id")
    if run is None:
        return None
    server = uri if uri.startswith(("http://", "https://")) else f"http://127.0.0.1:{UI_PORT}"
    return page(server, place["experiment_id"], run)
