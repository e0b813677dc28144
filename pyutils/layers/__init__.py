"""Network layers shared by the models: attention, transformer layers, embeddings, heads, ViT."""
