"""What ends a repair before its time."""


class StepFailed(Exception):
    """A step did not work; what was done before is taken back."""


class Interrupted(Exception):
    """The daemon is being stopped; what was done is taken back."""


class StillGoingOn(Exception):
    """The repair goes on without this daemon; the next one ends it."""


class JournalUnusable(Exception):
    """The journal cannot be written: a full or broken disk. Nothing is done that is not recorded."""


class BadArgument(ValueError):
    """A value that must not reach a command line."""
