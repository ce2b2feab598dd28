"""The one base of every error that the user can fix."""


class LookonceError(Exception):
    """A user's input is at fault; the message says what, where, what was expected, and the fix.

    The command line prints it without a traceback and exits with 1.
    """
