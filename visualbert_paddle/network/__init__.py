"""VisualBERT's layers and heads, independent of files and data."""
