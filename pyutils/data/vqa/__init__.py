"""VQA v2: questions and annotations by index, answer normalisation, result files, and the official evaluation."""
