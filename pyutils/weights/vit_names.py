"""Names of the vision transformer's parts in timm, which DeiT's checkpoints and ALBEF use too."""

from __future__ import annotations

from pyutils.weights.names import NORM, TENSOR, Rule

HEADS = (r"(^|\.)(head|head_dist)\.(weight|bias)$",)
"""Classifiers of ImageNet checkpoints, which have no counterpart here."""


def vision_rules(theirs: str, ours: str) -> list[Rule]:
    """Rules of a vision transformer below the prefixes `theirs` and `ours` (both with their dot, or empty)."""
    block, own = f"{theirs}blocks.{{}}", f"{ours}blocks.{{}}"
    return [
        Rule(f"{theirs}cls_token", f"{ours}class_token", TENSOR),
        Rule(f"{theirs}pos_embed", f"{ours}positions", TENSOR),
        Rule(f"{theirs}patch_embed.proj", f"{ours}patches", NORM),
        Rule(f"{block}.norm1", f"{own}.attention_norm", NORM),
        Rule(f"{block}.attn.qkv", f"{own}.attention.qkv"),
        Rule(f"{block}.attn.proj", f"{own}.projection"),
        Rule(f"{block}.norm2", f"{own}.mlp_norm", NORM),
        Rule(f"{block}.mlp.fc1", f"{own}.expand"),
        Rule(f"{block}.mlp.fc2", f"{own}.contract"),
        Rule(f"{theirs}norm", f"{ours}norm", NORM),
    ]
