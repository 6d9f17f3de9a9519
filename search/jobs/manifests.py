"""A search as a manifest for Kubernetes (KubeRay's RayJob), and as a batch script for Slurm."""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

from search.errors import BadInput
from search.jobs.client import STOP_SECONDS
from search.jobs.order import Order
from search.storage.bucket import SCHEME

LONGEST_NAME = 47
"""Of a RayJob: KubeRay makes names of services from it, which have 63 characters (validation.go, KubeRay 1.7)."""
RETRIES = 5
"""So often a lost cluster is made again; each time the search goes on from its record."""
CLAIM, MOUNT = "search-runs", "/runs"
"""The claim for volumes that keeps the runs, and where pods have it."""
SPOT = (
    ("cloud.google.com/gke-spot", "true"),
    ("eks.amazonaws.com/capacityType", "SPOT"),
    ("kubernetes.azure.com/scalesetpriority", "spot"),
)
"""How clouds mark the nodes that they may take back; trials prefer them, because losing one costs an epoch."""

SLURM = """\
#!/bin/bash
# Submit with: sbatch {name}.sh     Ray stops all of your Ray on these nodes at the end, so they are yours alone.
#SBATCH --job-name={name}
#SBATCH --nodes={workers}
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task={cpus}
{gpus}#SBATCH --exclusive
#SBATCH --output={name}-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:TERM@60

# When the time is nearly up, or the nodes are wanted back: into the queue again, where --resume auto goes on.
trap 'scontrol requeue "$SLURM_JOB_ID"' TERM

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address="$head:$((20000 + SLURM_JOB_ID % 20000))"
export RAY_AUTH_MODE=token RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
test -f "$HOME/.ray/auth_token" || ray get-auth-token --generate > /dev/null
{mlflow}
srun ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \\
  --num-cpus "$SLURM_CPUS_PER_TASK"{ray_gpus} -- \\
  env RAY_ADDRESS="$address" {command} &
wait $!
"""


def rayjob(order: Order, *, image: str | None, workers: int, cpus: int, mlflow: str) -> str:
    """A RayJob of KubeRay 1.6 or later, as YAML: its own cluster, tokens, spot workers, a head without trials.

    `image` holds Ray, our packages and the study. Unless the runs are in a bucket, the claim CLAIM must exist and be
    one that many nodes can write; for a bucket the secret CLAIM, if there is one, is put into the environment. Raises
    BadInput without an image.
    """
    import yaml

    if not image:
        raise BadInput("--kuberay needs --image: a container with Ray, this package, its requirements and the study")
    runs = order.runs or MOUNT
    claim = not runs.startswith(SCHEME)
    pod = partial(_pod, image, mlflow=mlflow, claim=claim)
    manifest = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": _kubernetes_name(order.name), "labels": {"app.kubernetes.io/name": "search"}},
        "spec": {
            "entrypoint": replace(order, runs=runs).command,
            "runtimeEnvYAML": yaml.safe_dump({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}}),
            "backoffLimit": RETRIES,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 600,
            "rayClusterSpec": {
                "rayVersion": version("ray"),
                "authOptions": {"mode": "token"},
                "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": pod("ray-head", cpus=2)},
                "workerGroupSpecs": [
                    {
                        "groupName": "workers",
                        "replicas": workers,
                        "minReplicas": 1,
                        "maxReplicas": workers,
                        "rayStartParams": {},
                        "template": pod("ray-worker", cpus=cpus, gpus=math.ceil(order.settings.gpus), spot=True),
                    }
                ],
            },
        },
    }
    needs = f"a claim {CLAIM} (ReadWriteMany)" if claim else f"rights to the bucket (a secret {CLAIM}, or a role)"
    head = (
        f"# Submit with: kubectl apply -f FILE     Needs KubeRay 1.6 or later, and {needs}\n"
        "# for records and checkpoints. A cluster that is lost is made again, and the search goes on from its record.\n"
    )
    return head + str(yaml.safe_dump(manifest, sort_keys=False))


def _pod(
    image: str, name: str, *, cpus: int, gpus: int = 0, spot: bool = False, mlflow: str, claim: bool
) -> dict[str, Any]:
    size: dict[str, Any] = {"cpu": str(cpus), "memory": f"{2 * cpus + 2}Gi"}
    if gpus:
        size["nvidia.com/gpu"] = str(gpus)
    container: dict[str, Any] = {
        "name": name,
        "image": image,
        "env": [{"name": "MLFLOW_TRACKING_URI", "value": mlflow}] if mlflow else [],
        "resources": {"requests": size, "limits": size},
    }
    pod: dict[str, Any] = {"containers": [container]}
    if claim:
        container["volumeMounts"] = [{"name": "runs", "mountPath": MOUNT}]
        pod["volumes"] = [{"name": "runs", "persistentVolumeClaim": {"claimName": CLAIM}}]
    else:
        container["envFrom"] = [{"secretRef": {"name": CLAIM, "optional": True}}]
    if spot:
        pod["tolerations"] = [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key, _ in SPOT]
        pod["affinity"] = {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 100,
                        "preference": {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]},
                    }
                    for key, value in SPOT
                ]
            }
        }
    return {"spec": pod}


def _kubernetes_name(name: str) -> str:
    """`name` as Kubernetes allows it: lower case letters, digits and dashes, a letter first."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return (plain if plain[:1].isalpha() else f"s-{plain}")[:LONGEST_NAME].rstrip("-")


def slurm(order: Order, *, workers: int, cpus: int, mlflow: str) -> str:
    """A batch script: Ray on all nodes by `ray symmetric-run`, the search on the first, requeued when time is up.

    To be submitted from a folder that all nodes share, with the environment in which `search` is installed.
    """
    gpus = math.ceil(order.settings.gpus)
    return SLURM.format(
        name=order.name,
        workers=workers,
        cpus=cpus,
        gpus=f"#SBATCH --gpus-per-node={gpus}\n" if gpus else "",
        ray_gpus=f" --num-gpus {gpus}" if gpus else "",
        mlflow=f"export MLFLOW_TRACKING_URI={shlex.quote(mlflow)}" if mlflow else "",
        command=order.command,
    )
