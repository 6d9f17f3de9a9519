"""A program of the user's own as a trainable: started for each trial, listened to, and ended with all that it started.

What belongs to any trainable lies above; how the study of a script is made from a command, in `spaces/`.
"""
