"""Where a recorded search reports to, and whose word for it is good enough.

A record may be made by somebody else. Credentials go only where the user's own environment says (MLFLOW_TRACKING_URI),
and a file is written only beside the runs folder unless that variable names another.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from search.errors import EnvironmentFault
from search.settings import Settings, from_environment, masked
from search.storage import bucket

CREDENTIALS = (
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
)
"""What MLflow sends to whatever server it talks to."""
CREDENTIALS_FILE = "~/.mlflow/credentials"


def address_of(folder: Path, recorded: str, say: Callable[[str], None]) -> str:
    """MLflow's tracking URI for the search in `folder`, of which the record says `recorded`.

    MLFLOW_TRACKING_URI if it is set, else the store beside the runs folder if that is the recorded one, else a recorded
    server if there are no credentials that it would get; `say` hears of that. Raises EnvironmentFault for any other
    address: it is the user's to give.
    """
    given, beside = from_environment()["tracking_uri"], Settings(runs=folder.parent).tracking
    if given:
        return str(given)
    if recorded == beside:
        return beside
    if recorded.startswith("sqlite:///") and bucket.of(folder):
        return beside  # that was another machine's; here the runs are written anew
    if "***" in recorded:
        raise EnvironmentFault(
            f"the search reports to {recorded}, and passwords are not recorded; set MLFLOW_TRACKING_URI to the whole "
            "address"
        )
    if not recorded.startswith(("http://", "https://")):
        raise EnvironmentFault(
            f"the record says that MLflow's runs are at {masked(recorded)}, which is not the store beside the runs "
            f"folder; set MLFLOW_TRACKING_URI to where they are to be written, such as {beside}"
        )
    found = _credentials()
    if found:
        raise EnvironmentFault(
            f"the record says that MLflow's runs are at {masked(recorded)}, which would get your {found}; set "
            "MLFLOW_TRACKING_URI to that address if you trust it, or to another"
        )
    say(f"MLflow's runs are at {masked(recorded)}, as the record says")
    return recorded


def _credentials() -> str:
    """Where there are credentials that MLflow would send; "" if there are none."""
    named = next((name for name in CREDENTIALS if os.environ.get(name)), "")
    return named or (CREDENTIALS_FILE if Path(CREDENTIALS_FILE).expanduser().exists() else "")
