"""How a script can end otherwise than well."""

from __future__ import annotations


class ScriptFailed(Exception):
    """A script ended otherwise than well; `told` has the last lines of what it printed."""

    def __init__(self, why: str, told: str = "") -> None:
        super().__init__(why)
        self.told = told


class ScriptUnusable(ScriptFailed):
    """The same for what no other setting would mend: it cannot be started, knows an argument not, or says no metric."""


class ScriptWithoutModel(ScriptUnusable):
    """A script came to its end without the file that is said to be its model."""


class ScriptOutOfMemory(ScriptFailed, MemoryError):
    """The same for want of memory."""


class ScriptAhead(ScriptFailed):
    """A script goes on later than where it was to: its files are of a later epoch than the last that it had said."""
