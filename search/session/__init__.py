"""A whole command on one search: prepare, begin or go on, run, crown, publish; reproduce and examine.

Ties the other rooms together; what can be said without the others belongs in one of them. The options that people give
belong in `cli`.
"""
