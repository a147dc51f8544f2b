"""The catalogue rendered into files; write or check."""
