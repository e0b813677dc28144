"""Recognise a checkpoint by the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

Shapes = Mapping[str, tuple[int, ...]]
_LOCATIONS = "bert.v_embeddings.image_location_embeddings.weight"


class Look(NamedTuple):
    """A kind of checkpoint: a regular expression that one of its names has, its description, the key of PARTS, and an
    expression that none of its names has."""

    mark: str
    description: str
    parts: str = ""
    lacks: str = ""


# The first that fits counts.
LOOKS = (
    Look(r"^vision\.class_token$", "ALBEF, ours", "ours"),
    Look(r"^encoder\.text_embeddings\.", "ViLBERT, ours", "vilbert ours"),
    Look(r"^encoder\.embeddings\.text\.", "VisualBERT, ours", "ours"),
    Look(r"vision_encoder\.encoder\.class_token$", "ALBEF with the names of TorchMultimodal", "albef"),
    Look(r"visual_encoder\.cls_token$", "ALBEF with the names of LAVIS", "albef", r"token_type_embeddings"),
    Look(r"visual_encoder\.cls_token$", "ALBEF with the names of its authors", "albef"),
    Look(r"v_embeddings\.image_location_embeddings\.", "ViLBERT with the names of its authors", "vilbert"),
    Look(r"bert\.bert\.embeddings\.", "VisualBERT with the names of its authors", "visualbert"),
    Look(r"visual_bert\..*self_attn\.q_proj\.", "VisualBERT with the names of PaddleNLP", "visualbert"),
    Look(r"visual_bert\.", "VisualBERT with the names of Hugging Face", "visualbert"),
    Look(r"token_type_embeddings_visual", "VisualBERT with the names of MMF", "visualbert"),
    Look(r"self_attn\.q_proj\.", "a text model with the names of paddlenlp", "bert"),
    Look(r"embeddings\.word_embeddings\.weight$", "a BERT with the names of Hugging Face", "bert"),
    Look(r"(^|\.)blocks\.0\.attn\.qkv\.", "a vision transformer with the names of timm (DeiT)", "vit"),
    Look(r"encoder_layer_0\.self_attention\.in_proj_weight$", "a vision transformer with the names of torchvision"),
    Look(r"_moment1(_0)?$|^optimizer\.", "the state of an optimizer"),
)

# Parts worth naming: key of a look → (regular expression of a name, description).
PARTS = {
    "albef": (
        (r"_m\.", "momentum teacher"), (r"(^|\.)image_queue$", "queues"), (r"text_encoder\.cls\.", "masked words"),
        (r"(^|\.)itm_head\.", "matching"), (r"(text_decoder|answer_decoder)\.", "answer decoder"),
        (r"(^|\.)cls_head\.", "classifier"), (r"(^|\.)ta_head\.", "text assignment"),
    ),
    "vilbert": (
        (r"cls\.predictions\.", "masked words"), (r"cls\.imagePredictions\.", "masked regions"),
        (r"cls\.bi_seq_relationship\.", "alignment"), (r"vil_prediction\.", "VQA"), (r"vil_prediction_gqa\.", "GQA"),
        (r"vil_binary_prediction\.", "pairs"), (r"vil_tri_prediction\.", "entailment"), (r"vil_logit\.", "matching"),
        (r"vision_logit\.", "regions"), (r"linguisic_logit\.", "words"),
    ),
    "vilbert ours": (
        *((rf"^heads\.{name}\.", part) for name, part in (
            ("masked_words", "masked words"), ("masked_regions", "masked regions"), ("alignment", "alignment"),
            ("vqa", "VQA"), ("gqa", "GQA"), ("pair", "pairs"), ("entailment", "entailment"), ("match", "matching"),
            ("region", "regions"), ("word", "words"))),
    ),
    "ours": (
        (r"^teacher\.", "momentum teacher"), (r"^queue\.", "queues"), (r"^words\.", "masked words"),
        (r"^matching\.", "matching"), (r"^decoder\.", "answer decoder"), (r"^classifier\.", "classifier"),
        (r"^assignment\.", "text assignment"), (r"^sentence_image\.", "sentence-image prediction"),
        (r"^query\.", "phrase grounding"),
    ),
    "visualbert": (
        (r"cls\.predictions\.", "masked words"), (r"cls\.seq_relationship\.", "sentence-image prediction"),
        (r"classifier\.|^cls\.(weight|bias)$", "classifier"),
        (r"flickr_attention\.|^attention\.", "phrase grounding"), (r"detector\.", "detector"),
    ),
    "bert": ((r"cls\.predictions\.", "masked words"), (r"cls\.seq_relationship\.", "next sentence")),
    "vit": ((r"(^|\.)head(_dist)?\.", "ImageNet classifier"),),
}  # fmt: skip


def looks_like(shapes: Shapes) -> str:
    """Describe a checkpoint with tensors of these names and shapes, and its heads and other parts."""
    found = next(
        (look for look in LOOKS if _has(shapes, look.mark) and not (look.lacks and _has(shapes, look.lacks))), None
    )
    if found is None:
        return "none of the known models"
    description = "ViLBERT with the names of the old Paddle port" if _is_port(shapes) else found.description
    parts = [what for mark, what in PARTS.get(found.parts, ()) if _has(shapes, mark)]
    return f"{description}; with {', '.join(parts)}" if parts else description


def _has(names: Shapes, mark: str) -> bool:
    return any(map(re.compile(mark).search, names))


def _is_port(shapes: Shapes) -> bool:
    """The old port keeps matrices `[in, out]`: the five location numbers come first."""
    return shapes.get(_LOCATIONS, ())[:1] == (5,)
