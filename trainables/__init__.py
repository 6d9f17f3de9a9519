"""How one model is trained.

A *trainable* is a generator: given a configuration and data it yields one `Epoch` after each epoch, and can go on
from a saved one. It knows nothing of Ray, Optuna or MLflow, so a debugger and a millisecond test reach it.
"""
