"""Why TCP connections are reset or run out on a Linux host, what is to blame, what to change."""

__version__ = "0.1.0"
