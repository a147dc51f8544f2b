"""The one error that parsers raise."""


class ParseError(ValueError):
    """Input that is not what it should be; the message says what, and where in it."""
