"""The network of ViLBERT: streams with co-attention, the model, its heads and their inputs and losses."""
