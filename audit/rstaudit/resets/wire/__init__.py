"""Captured packets to flows to diagnoses."""
