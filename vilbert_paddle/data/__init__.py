"""Batches for ViLBERT's tasks: records and region features in, dicts of NumPy arrays out.

Each module has one function a task, `<task>_batch`, which a Task's `collate` calls. Nothing here imports Paddle, so
data workers start fast. All batches share these arrays (b batch, t longest text, r longest picture with its global
region):

    input_ids, text_mask, token_type_ids   [b, t] int64 (or [b, choices, t])
    region_features                        [b, r, d] float32, row 0 the global region, zeros in the padding
    region_mask                            [b, r] int64
    region_boxes                           [b, r, 5] float32: edges as shares of the picture, share of its area

Texts and pictures are padded to the longest of their own batch: what is padded is never read by the model, so longer
padding would change no number. The recorded batches of the original have fixed lengths; the tests compare the part that
both have, and check that the rest of the recorded array is padding.
"""
