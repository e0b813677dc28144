"""Names of the tensors in every code base, conversion and loading."""
