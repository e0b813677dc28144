"""The engine: training loop, exact evaluation, resumable checkpoints. It knows models only through `task.Task`."""
