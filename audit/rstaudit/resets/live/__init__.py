"""Kernel events and socket history to diagnoses."""
