"""ViLBERT's tasks, one module each."""
