"""Ray: started or joined, its nodes and places, and Tune as the executor of trials in worker processes.

It carries out what `decide` says and knows nothing of why. What is changed of Ray's private parts is in `ray_patches`
alone.
"""
