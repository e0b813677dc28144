"""Text to ids: WordPiece, cleaning of captions and questions, sequences, masking for language modelling."""
