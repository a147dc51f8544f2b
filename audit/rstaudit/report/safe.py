"""Names that others chose (processes, files, interfaces) made harmless for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""``text`` with every character that a terminal might act on made visible.

    Control characters, escape sequences, line breaks, bidirectional controls, zero-width
    characters and surrogates become ``\x1b`` or ``\u202e``; bytes that were no UTF-8
    (surrogate escapes) show as the byte they were, ``\xff``.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _visible(ord(char)) for char in text)


def _visible(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape, PEP 383
        code -= 0xDC00
    if code < 0x100:
        return {9: r"\t", 10: r"\n", 13: r"\r"}.get(code, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
