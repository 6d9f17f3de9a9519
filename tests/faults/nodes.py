"""A Ray cluster on this machine, in a process of its own: `python nodes.py`, told what to do on standard input.

A head without CPUs; `add` starts a node of one CPU, `remove N` kills the N-th without a word, `drain N SECONDS` gives
it notice as a cloud does before it takes a machine back. Each is answered with a line, the first with the address.
"""

import subprocess
import sys

from ray.cluster_utils import Cluster


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = []
    print(cluster.address, flush=True)
    for line in sys.stdin:
        verb, *arguments = line.split()
        if verb == "add":
            nodes.append(cluster.add_node(num_cpus=1))
        elif verb == "remove":
            cluster.remove_node(nodes[int(arguments[0])], allow_graceful=False)
        elif verb == "drain":
            options = ["--address", cluster.address, "--node-id", nodes[int(arguments[0])].node_id]
            options += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the test wants it back"]
            options += ["--deadline-remaining-seconds", arguments[1]]
            subprocess.run([sys.executable, "-m", "ray.scripts.scripts", "drain-node", *options], check=True)
        print(verb, flush=True)


if __name__ == "__main__":
    main()
