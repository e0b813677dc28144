"""Checkpoints of other code bases: reading them, and the names their tensors have there and here."""
