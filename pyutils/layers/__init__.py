"""The network parts that all models are made of: attention, transformer layers, embeddings, heads, ViT."""
