"""The command line: verbs, options, exit codes.

Reads what was typed and prints what came of it; every verb is a few lines around a function that Python has too.
"""
