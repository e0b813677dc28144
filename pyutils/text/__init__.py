"""Words into ids: WordPiece, cleaning of captions and questions, truncation, and masking for language modelling."""
