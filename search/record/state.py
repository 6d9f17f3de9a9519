"""How a trial stands, or ended."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """How a trial stands, or ended."""

    RUNNING = "running"
    PAUSED = "paused"
    """The scheduler has put it aside, with its last checkpoint; it may go on at any time."""
    COMPLETE = "complete"
    """Reached the full budget, or came to an end of its own before (`FINISHED_EARLY`)."""
    STOPPED = "stopped"
    """The scheduler saw no promise in it."""
    DIVERGED = "diverged"
    """Its loss was no longer finite."""
    OUT_OF_MEMORY = "out of memory"
    INFEASIBLE = "infeasible"
    """It broke a constraint of the study, or its trainable said so: too large, too slow. No failure, and no winner."""
    FAILED = "failed"
    """Its code raised an error or yielded what it must not, or its process died again and again."""
    TIMED_OUT = "timed out"
    """It reported nothing for too long, twice."""
    PREEMPTED = "preempted"
    """Its nodes were taken away more often than it was worth trying again."""
    INTERRUPTED = "interrupted"
    """The search was left before the trial ended: time was up, or it was stopped. It goes on if the search does."""


WORTHLESS = (State.DIVERGED, State.FAILED, State.OUT_OF_MEMORY, State.INFEASIBLE)
"""Ends after which a trial is not ranked, whatever it showed before."""

FINISHED_EARLY = "finished early"
"""Why a trial is complete that returned before its last epoch, as one with a patience of its own does."""
