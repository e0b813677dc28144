"""A BERT of paddlenlp, saved by it, gives the same states in our encoder."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from visualbert_paddle.checkpoints.weights import load_initial
from visualbert_paddle.config import VisualBertConfig
from visualbert_paddle.network.heads import VisualBertForPretraining

CONFIG = VisualBertConfig(vocab_size=40, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=24,
                          max_positions=32, visual_dim=4)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [2, 4])
def test_states_and_word_scores_equal_those_of_paddlenlp(tmp_path, protocol):
    transformers = pytest.importorskip("paddlenlp.transformers")
    settings = transformers.BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                                       intermediate_size=24, max_position_embeddings=32, type_vocab_size=2)  # fmt: skip
    theirs = transformers.BertForPretraining(settings)
    for number, parameter in enumerate(theirs.parameters()):
        rng = np.random.default_rng(number)
        parameter.set_value(rng.normal(0, 0.3, parameter.shape).astype("float32"))
    theirs.eval()
    paddle.save(theirs.state_dict(), str(tmp_path / "model_state.pdparams"), protocol=protocol)
    ours = VisualBertForPretraining(CONFIG)
    report = load_initial(ours, str(tmp_path))
    assert all("region_projection" in name for name in report.allowed_missing)
    ours.eval()
    ids = paddle.to_tensor(np.random.default_rng(9).integers(1, 40, (3, 7)))
    with paddle.no_grad():
        words, matching = theirs(ids)
        scores = ours(input_ids=ids)
    np.testing.assert_allclose(scores.words.numpy(), words.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scores.sentence_image.numpy(), matching.numpy(), rtol=1e-5, atol=1e-5)
