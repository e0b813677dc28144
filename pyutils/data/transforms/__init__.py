"""What is done to pixels between a file and a model."""
