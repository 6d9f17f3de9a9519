"""Where searches are kept: the runs folder or bucket, the lock, checkpoints and their retention.

Paths, objects, digests and who holds what. No word here knows what a trial is worth; what the files of the record mean
belongs in `record`.
"""
