"""Records, annotation readers, visual sources, and the order in which batches are made from them."""
