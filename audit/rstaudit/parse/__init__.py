"""Bytes or text to model values: pure and total, a value or ParseError."""
