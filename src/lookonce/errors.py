"""The base of every error that the user can fix, and how messages list names."""

from collections.abc import Iterable


class LookonceError(Exception):
    """Error that the user can fix; the message says what, where, what was expected, and the fix.

    The command line prints it without a traceback and exits with 1.
    """


def listing(names: Iterable[object], most: int = 5) -> str:
    """Join names for a message, cut after `most`; "none" for no names.

    >>> listing(["car", "dog"])
    'car, dog'
    >>> listing(range(80))
    '0, 1, 2, 3, 4, and 75 more'
    """
    texts = [str(name) for name in names]
    rest = f", and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + rest or "none"
