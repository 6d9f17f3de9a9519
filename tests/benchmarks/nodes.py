"""What the data set costs on a cluster: two nodes on this machine, two workers on each.

`python -m tests.benchmarks.nodes [--megabytes 47] [--json]`; Fashion-MNIST's training part has 47 MB.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.chaos.nodes import cluster


def fetched(boxed: list[Any]) -> dict[str, Any]:
    """In a worker: seconds to have the data, and how many MB of them are this process's own."""
    import os

    import psutil
    import ray

    me = psutil.Process()
    before, start = me.memory_full_info().uss, time.perf_counter()
    data = ray.get(boxed[0])
    took = time.perf_counter() - start
    assert int(data["x"][::4096].sum()) >= 0
    return {
        "node": ray.get_runtime_context().get_node_id()[:6],
        "pid": os.getpid(),
        "seconds": round(took, 4),
        "own_mb": round((me.memory_full_info().uss - before) / 1e6, 1),
    }


def measured(megabytes: int) -> list[dict[str, Any]]:
    import os

    import numpy as np

    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder, "nodes"), workers=0) as nodes:
        nodes.add(cpus=2)
        nodes.add(cpus=2)
        os.environ.update(nodes.client)
        import ray
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        ray.init(address=nodes.address, log_to_driver=False, logging_level=40)
        stored = ray.put({"x": np.random.default_rng(0).integers(0, 256, megabytes * 10**6, dtype=np.uint8)})

        @ray.remote(num_cpus=1)
        class Worker:
            def fetch(self, boxed: list[Any]) -> dict[str, Any]:
                return fetched(boxed)

        workers = [Worker.options(scheduling_strategy="SPREAD").remote() for _ in range(4)]
        rows = [ray.get(worker.fetch.remote([stored])) for worker in workers]
        ray.shutdown()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=47)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = measured(arguments.megabytes)
    if arguments.json:
        json.dump(rows, sys.stdout, indent=1)
        return
    for row in rows:
        print(f"node {row['node']}  process {row['pid']}  {row['seconds']:.4f} s  {row['own_mb']} MB of its own")


if __name__ == "__main__":
    main()
