"""Names of the vision transformer's parts in timm and torchvision."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from pyutils.weights.names import MATRIX, NORM, TENSOR, NameRule

HEADS = (r"(^|\.)(head|head_dist|heads\.head)\.(weight|bias)$",)
"""Classifiers of ImageNet checkpoints, which have no counterpart here."""
# Hugging Face's ViT → timm's.
_TIMM_NAMES = (
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("encoder.layer.", "blocks."),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
    (".attention.output.dense.", ".attn.proj."),
    (".intermediate.dense.", ".mlp.fc1."),
    (".output.dense.", ".mlp.fc2."),
)
_FEED_FORWARD = (("0", "expand"), ("3", "contract"), ("linear_1", "expand"), ("linear_2", "contract"))


def timm_rules(theirs: str, ours: str) -> list[NameRule]:
    """Return the rules of timm's vision transformer, which DeiT and ALBEF use.

    `theirs` and `ours` are prefixes with their dot, or empty.
    """
    block, own = f"{theirs}blocks.{{}}", f"{ours}blocks.{{}}"
    return [
        NameRule(f"{theirs}cls_token", f"{ours}class_token", TENSOR),
        NameRule(f"{theirs}pos_embed", f"{ours}positions", TENSOR),
        NameRule(f"{theirs}patch_embed.proj", f"{ours}patches", NORM),
        NameRule(f"{block}.norm1", f"{own}.attention_norm", NORM),
        NameRule(f"{block}.attn.qkv", f"{own}.attention.qkv"),
        NameRule(f"{block}.attn.proj", f"{own}.projection"),
        NameRule(f"{block}.norm2", f"{own}.mlp_norm", NORM),
        NameRule(f"{block}.mlp.fc1", f"{own}.expand"),
        NameRule(f"{block}.mlp.fc2", f"{own}.contract"),
        NameRule(f"{theirs}norm", f"{ours}norm", NORM),
    ]


def torchvision_rules(theirs: str, ours: str) -> list[NameRule]:
    """Return the rules of torchvision's vision transformer, which TorchMultimodal's ALBEF uses.

    `theirs` and `ours` are prefixes with their dot, or empty. The feed-forward names before torchvision 0.13 match too.
    """
    block, own = f"{theirs}encoder.layers.encoder_layer_{{}}", f"{ours}blocks.{{}}"
    return [
        NameRule(f"{theirs}class_token", f"{ours}class_token", TENSOR),
        NameRule(f"{theirs}encoder.pos_embedding", f"{ours}positions", TENSOR),
        NameRule(f"{theirs}conv_proj", f"{ours}patches", NORM),
        NameRule(f"{block}.ln_1", f"{own}.attention_norm", NORM),
        NameRule(f"{block}.self_attention.in_proj_weight", f"{own}.attention.qkv.weight", MATRIX),
        NameRule(f"{block}.self_attention.in_proj_bias", f"{own}.attention.qkv.bias", TENSOR),
        NameRule(f"{block}.self_attention.out_proj", f"{own}.projection"),
        NameRule(f"{block}.ln_2", f"{own}.mlp_norm", NORM),
        *(NameRule(f"{block}.mlp.{part}", f"{own}.{mine}") for part, mine in _FEED_FORWARD),
        NameRule(f"{theirs}encoder.ln", f"{ours}norm", NORM),
    ]


def timm_of_hugging_face(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rename the vision transformer of Hugging Face (without `vit.`) to timm's names; query, key and value become one
    matrix."""
    found: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        if ".attention.attention." in name:
            start, _, end = name.partition(".attention.attention.")
            projection, _, kind = end.partition(".")
            if projection == "query":
                parts = [tensors[f"{start}.attention.attention.{own}.{kind}"] for own in ("query", "key", "value")]
                found[f"{start.replace('encoder.layer.', 'blocks.')}.attn.qkv.{kind}"] = np.concatenate(parts)
            continue
        new = re.sub(r"^layernorm\.", "norm.", name)
        for theirs, timms in _TIMM_NAMES:
            new = new.replace(theirs, timms)
        found[new] = value
    return found
