"""VisualBERT's tasks, one file each."""
