"""Region features from images: the bottom-up detector, grid backbones, and the extraction that writes a store."""
