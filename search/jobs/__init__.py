"""A search as a job on somebody's cluster: submitted to Ray's job server, or printed for Kubernetes and Slurm.

Knows how a search travels and is followed, and nothing of what it does there.
"""
