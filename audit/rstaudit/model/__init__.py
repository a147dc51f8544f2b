"""Plain immutable values; imports nothing of ours."""
