"""How to search, and where it is written: the record, Optuna, ASHA, Ray Tune and MLflow.

A search is a record of events; sampler, scheduler, tracking and display are projections of it.
"""
