"""Batches of arrays from records."""
