"""Metrics as pure functions over arrays and plain Python values; nothing here imports Paddle."""
