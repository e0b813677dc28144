"""Data to try the suite on: easy-VQA converted, and a small drawn world, both in real on-disk formats."""
