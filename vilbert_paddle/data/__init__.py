"""Batches for ViLBERT's tasks: records and region features in, dicts of NumPy arrays out.

Each task has a function `<task>_batch`, which `Task.collate` calls. Nothing here imports Paddle, so data workers start
fast. All batches share these arrays (b batch, t longest text, r most regions of an image with the global one):

    input_ids, text_mask, token_type_ids   [b, t] int64 (or [b, choices, t])
    region_features                        [b, r, d] float32, row 0 the global region, zeros in the padding
    region_mask                            [b, r] int64
    region_boxes                           [b, r, 5] float32: edges relative to the image, fraction of its area

Texts and regions are padded to the longest of their own batch: the model never reads padding, so longer padding would
change no number. Recorded batches of the original have fixed lengths; tests compare the common part, and check that the
rest of the recorded array is padding.
"""
