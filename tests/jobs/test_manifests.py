"""Manifests are what the tools that read them understand: KubeRay's schema, Ray's own parsers, bash, Slurm's sbatch."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from search.errors import BadInput
from search.jobs import manifests
from search.jobs.order import Order
from search.settings import Settings

NAME = "digits_cnn-1125.nightly"
ORDER = Order("digits_cnn", Settings(name=NAME, changes={"train/lr": "log(1e-3, 1e-1)"}))
WORDS = ["python", "-m", "search", "digits_cnn", "--name", NAME, "--set", "train/lr=log(1e-3, 1e-1)"]
SIZE: dict[str, Any] = {"workers": 3, "cpus": 8, "mlflow": "http://mlflow:5000"}

# Property names and types of KubeRay 1.7 (ray-operator/config/crd/bases/ray.io_rayjobs.yaml), of what we may use;
# the whole of it is 25,000 lines. With KUBERAY_CRD set to that file it is used instead, pods and all.
POD = {
    "type": "object",
    "required": ["spec"],
    "additionalProperties": False,
    "properties": {"spec": {"type": "object"}},
}
GROUP = {"rayStartParams": {"type": "object", "additionalProperties": {"type": "string"}}, "template": POD}
WORKERS = {**GROUP, "groupName": {"type": "string"}} | {
    name: {"type": "integer", "minimum": 0} for name in ("replicas", "minReplicas", "maxReplicas")
}
CLUSTER = {
    "rayVersion": {"type": "string"},
    "authOptions": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"mode": {"enum": ["disabled", "token"]}, "secretName": {"type": "string"}},
    },
    "headGroupSpec": {"type": "object", "additionalProperties": False, "required": ["template"], "properties": GROUP},
    "workerGroupSpecs": {
        "type": "array",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": ["groupName", "maxReplicas", "minReplicas", "template"],
            "properties": WORKERS,
        },
    },
}
JOB = {
    "entrypoint": {"type": "string"},
    "runtimeEnvYAML": {"type": "string"},
    "backoffLimit": {"type": "integer", "minimum": 0},
    "shutdownAfterJobFinishes": {"type": "boolean"},
    "ttlSecondsAfterFinished": {"type": "integer", "minimum": 0},
    "rayClusterSpec": {"type": "object", "additionalProperties": False, "properties": CLUSTER},
}


def strict(schema: Any) -> Any:
    """The schema of a custom resource, as Kubernetes checks it: what it does not name is refused."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if made.pop("x-kubernetes-int-or-string", None):
        made.pop("anyOf", None)
        return {"type": ["integer", "string"]}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made


def schema_of_a_job() -> Any:
    file = os.environ.get("KUBERAY_CRD")
    if not file:
        return {"type": "object", "additionalProperties": False, "properties": JOB}
    versions = yaml.safe_load(Path(file).read_text())["spec"]["versions"]
    return strict(versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"])


def ordered(**settings: Any) -> Order:
    return replace(ORDER, settings=replace(ORDER.settings, **settings))


def rayjob(**settings: Any) -> Any:
    return yaml.safe_load(manifests.rayjob(ordered(**settings), image="mine:1", **SIZE))


def slurm(**settings: Any) -> str:
    return manifests.slurm(ordered(**settings), **SIZE)


# KubeRay


@pytest.mark.parametrize("gpus", [0.0, 0.25, 2.0])
def test_a_rayjob_is_what_the_schema_of_kuberay_allows(gpus: float) -> None:
    made = rayjob(gpus=gpus)
    assert (made["apiVersion"], made["kind"]) == ("ray.io/v1", "RayJob")
    jsonschema.Draft202012Validator(schema_of_a_job()).validate(made["spec"])


def test_the_schema_refuses_what_kuberay_does_not_know() -> None:
    made = rayjob()
    made["spec"]["rayClusterSpec"]["headGroupSpec"]["startParams"] = {}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema_of_a_job()).validate(made["spec"])


def test_a_rayjob_is_complete() -> None:
    spec = rayjob(gpus=0.5)["spec"]
    cluster, [workers] = spec["rayClusterSpec"], spec["rayClusterSpec"]["workerGroupSpecs"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}, "trials on the head would take it along"
    assert spec["backoffLimit"] > 0
    assert "--resume auto" in spec["entrypoint"]
    assert (workers["replicas"], workers["maxReplicas"]) == (3, 3)
    pod = workers["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {each["key"] for each in pod["tolerations"]} == {key for key, _ in manifests.SPOT}
    for group in (cluster["headGroupSpec"], workers):
        [container] = group["template"]["spec"]["containers"]
        assert container["volumeMounts"] == [{"name": "runs", "mountPath": "/runs"}]
        assert {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow:5000"} in container["env"]


def test_the_command_of_a_rayjob_keeps_its_runs_on_the_claim() -> None:
    words = shlex.split(rayjob()["spec"]["entrypoint"])
    assert words == [*WORDS, "--runs", "/runs", "--resume", "auto"]


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("digits_cnn-1", "digits-cnn-1"), ("1", "s-1"), ("A" * 80, "a" * 47), ("x." * 30, ("x-" * 24)[:47].rstrip("-"))],
)
def test_a_rayjob_has_a_name_that_kubernetes_allows(name: str, allowed: str) -> None:
    assert rayjob(name=name)["metadata"]["name"] == allowed


def test_a_rayjob_with_its_runs_in_a_bucket_needs_no_claim_and_takes_the_rights_from_a_secret() -> None:
    order = replace(ORDER, runs="s3://lab/runs")
    job = yaml.safe_load(manifests.rayjob(order, image="lab/search:1", **SIZE))
    jsonschema.Draft202012Validator(schema_of_a_job()).validate(job["spec"])
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert "volumes" not in group["template"]["spec"]
        [container] = group["template"]["spec"]["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "search-runs", "optional": True}}]
    assert job["spec"]["entrypoint"].endswith("--runs s3://lab/runs --resume auto")


def test_a_rayjob_without_an_image_is_refused() -> None:
    with pytest.raises(BadInput, match="--kuberay needs --image"):
        manifests.rayjob(ORDER, image=None, **SIZE)


# Slurm


def test_bash_reads_the_batch_script() -> None:
    subprocess.run(["bash", "-n"], input=slurm(gpus=2.0), text=True, check=True)


def ray_words(script: str) -> list[str]:
    """The words after `ray symmetric-run`, with the variables filled in."""
    line = script[script.index("ray symmetric-run") : script.index(" &\n")].replace("\\\n", " ")
    for name, value in (
        ("$address", "node1:20001"), ("$SLURM_JOB_NUM_NODES", "3"), ("$SLURM_CPUS_PER_TASK", "8"),
    ):  # fmt: skip
        line = line.replace(name, value)
    return shlex.split(line)[2:]


@pytest.mark.parametrize("gpus", [0.0, 2.0])
def test_ray_understands_its_part_of_the_batch_script(gpus: float) -> None:
    from ray.scripts.scripts import start
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args, symmetric_run

    words = ray_words(slurm(gpus=gpus))
    separator = words.index("--")
    context = symmetric_run.make_context("symmetric-run", words[:separator])
    assert (context.params["address"], context.params["min_nodes"]) == ("node1:20001", 3)
    started = start.make_context("start", curate_and_validate_ray_start_args(words[:separator]))
    assert started.params["num_cpus"] == 8
    assert started.params["num_gpus"] == (gpus or None)


def test_the_search_of_the_batch_script_joins_its_cluster_and_goes_on_after_a_requeue() -> None:
    words = ray_words(slurm())
    command = words[words.index("--") + 1 :]
    assert command == ["env", "RAY_ADDRESS=node1:20001", *WORDS, "--resume", "auto"]
    assert "#SBATCH --requeue" in slurm()
    assert "scontrol requeue" in slurm()


@pytest.mark.skipif(shutil.which("sbatch") is None, reason="needs sbatch (Debian: slurm-client)")
def test_sbatch_reads_every_option_of_the_batch_script(tmp_path: Path) -> None:
    (tmp_path / "slurm.conf").write_text(
        "ClusterName=x\nSlurmctldHost=localhost\nNodeName=n1\nPartitionName=p Nodes=n1\n"
    )
    script = tmp_path / "x.sh"
    known = {"SLURM_CONF": str(tmp_path / "slurm.conf")}
    for text, fault in ((slurm(gpus=1.0), False), (slurm().replace("--requeue", "--requeeue"), True)):
        script.write_text(text)
        done = subprocess.run(
            ["sbatch", "--test-only", str(script)], env={**os.environ, **known}, capture_output=True, text=True
        )
        assert ("unrecognized option" in done.stderr) == fault, done.stderr
