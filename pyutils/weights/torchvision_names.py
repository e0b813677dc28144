"""Names of the vision transformer's parts in torchvision, which TorchMultimodal's ALBEF uses."""

from __future__ import annotations

from pyutils.weights.names import MATRIX, NORM, TENSOR, Rule

_FEED_FORWARD = (("0", "expand"), ("3", "contract"), ("linear_1", "expand"), ("linear_2", "contract"))


def vision_rules(theirs: str, ours: str) -> list[Rule]:
    """Rules of a vision transformer below the prefixes `theirs` and `ours` (both with their dot, or empty).

    The names of its feed-forward layers before torchvision 0.13 are read too.
    """
    block, own = f"{theirs}encoder.layers.encoder_layer_{{}}", f"{ours}blocks.{{}}"
    return [
        Rule(f"{theirs}class_token", f"{ours}class_token", TENSOR),
        Rule(f"{theirs}encoder.pos_embedding", f"{ours}positions", TENSOR),
        Rule(f"{theirs}conv_proj", f"{ours}patches", NORM),
        Rule(f"{block}.ln_1", f"{own}.attention_norm", NORM),
        Rule(f"{block}.self_attention.in_proj_weight", f"{own}.attention.qkv.weight", MATRIX),
        Rule(f"{block}.self_attention.in_proj_bias", f"{own}.attention.qkv.bias", TENSOR),
        Rule(f"{block}.self_attention.out_proj", f"{own}.projection"),
        Rule(f"{block}.ln_2", f"{own}.mlp_norm", NORM),
        *(Rule(f"{block}.mlp.{part}", f"{own}.{mine}") for part, mine in _FEED_FORWARD),
        Rule(f"{theirs}encoder.ln", f"{ours}norm", NORM),
    ]
