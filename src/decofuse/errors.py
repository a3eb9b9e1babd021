"""The one exception that reaches people."""


class UserError(Exception):
    """Something a person can put right: bad input, a wrong setting, a missing file.

    The message is one line that says what was expected, what was found, in which file, and what to do.
    The command line prints it without a traceback and exits with status 1.
    """
