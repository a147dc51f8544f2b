"""Capture files to TCP segments."""

import os

# Before numpy is imported: its linear algebra, of which nothing here is used, would start a
# thread for every core, and a process with threads cannot fork (see collect/ahead.py).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
