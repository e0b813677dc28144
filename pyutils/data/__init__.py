"""Annotations, records, images and region features, without pixels or tensors where they are not needed."""
