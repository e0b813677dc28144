"""Training of the region detector on images with annotated boxes."""
