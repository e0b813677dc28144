"""Retrieval with VisualBERT: ITC of words and regions alone, ITM by the sentence-image head, training, ranks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import paddle
import pytest

from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.data.features import FeatureSpec, PackedWriter, RegionFeatures
from pyutils.engine.answers import Example
from pyutils.engine.determinism import seed_initial
from pyutils.engine.evaluation import evaluate, evaluating
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from visualbert_paddle.checkpoints.weights import load_initial
from visualbert_paddle.network.heads import VisualBertForPretraining
from visualbert_paddle.tasks.retrieval import VisualBertRetrieval, VisualBertRetrievalConfig

WORDS = ["red", "blue", "green", "dog", "cat", "bird", "runs", "sits", "flies"]
YAML = """
task: visualbert_retrieval
output_dir: {0}/run
tokenizer: {0}/vocab.txt
max_text: 12
model: {{vocab_size: 0, hidden_size: 16, num_layers: 2, num_heads: 2, intermediate_size: 32, max_positions: 16,
  hidden_dropout: 0.0, attention_dropout: 0.0, visual_dim: 9, init_std: 0.3, contrast: {{dim: 8}}}}
regions: {{path: "{0}/regions"}}
retrieval: {{annotations: "{0}/karpathy.json", k_test: 1000}}
train: {{batch_size: 16, eval_batch_size: 3, epochs: 100, workers: 0, eval_every_epochs: 100,
  optimizer: {{name: adamw, lr: 3e-3}}}}
"""


@pytest.fixture
def config(tmp_path):
    """Images are two regions that show which of nine words their two captions have."""
    rng = np.random.default_rng(0)
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    images = []
    with PackedWriter(tmp_path / "regions", FeatureSpec(9, "words", 3)) as store:
        for number in range(27):
            words = [number // 9, 3 + number // 3 % 3, 6 + number % 3]
            features = np.concatenate([np.eye(9)[words[:2]].sum(0)[None], np.eye(9)[words[2]][None]])[: 1 + number % 2]
            features[0] += 0 if number % 2 else np.eye(9)[words[2]]
            boxes = np.tile(np.array([[0, 0, 4, 4]], np.float32), (len(features), 1))
            store.add(f"i{number}", RegionFeatures(features.astype(np.float32), boxes, 4, 4))
            names = [WORDS[word] for word in words]
            texts = [" ".join(names), " ".join(rng.permutation(names)) + " " + names[0]]
            split = "val" if number % 4 == 3 else "train"
            sentences = [{"raw": text} for text in texts]
            images.append({"filename": f"i{number}.jpg", "imgid": number, "split": split, "sentences": sentences})
    (tmp_path / "karpathy.json").write_text(json.dumps({"images": images}))
    (tmp_path / "retrieval.yaml").write_text(YAML.format(tmp_path))
    return lambda *overrides: load_config(VisualBertRetrievalConfig, tmp_path / "retrieval.yaml", overrides)


def task_of(config):
    seed_initial(0)
    return VisualBertRetrieval(config)


def joint_scores(task, captions, images):
    """Log-odds of pairs by the ordinary forward pass of the encoder over words and regions."""
    arrays = {**task.text_arrays(task._sequences(captions)), **task.region_arrays(images)}
    inputs = {name: paddle.to_tensor(value) for name, value in arrays.items()}
    encoder = task.model.encoder
    logits = task.model.sentence_image(encoder.pooler(encoder(**inputs).states)).numpy()
    return logits[:, 1] - logits[:, 0]


@pytest.mark.parametrize("bypass", ["false", "true"])
def test_ranks_are_those_of_every_pair_scored_alone(bypass, config):
    task = task_of(config(f"model.bypass_encoder={bypass}"))
    records = task.records("val")
    captions = [text for record in records for text in record.captions]
    owners = np.repeat(np.arange(len(records)), 2)
    with evaluating(task.model):
        _, found = evaluate(task, task.config.train, "val")
        keys = [record.image for record in records]
        matrix = np.stack([joint_scores(task, [caption] * len(keys), keys) for caption in captions])
    own = matrix[np.arange(len(owners)), owners]
    assert np.ptp(matrix, axis=1).min() > 1e-3
    np.testing.assert_array_equal(found.image_ranks, (matrix > own[:, None] + 1e-6).sum(axis=1))
    best = np.array([matrix[owners == image, image].max() for image in range(len(keys))])
    np.testing.assert_array_equal(found.text_ranks, (matrix > best + 1e-6).sum(axis=0))


def test_features_are_the_mean_of_words_or_regions_alone(config):
    task = task_of(config())
    with evaluating(task.model):
        texts = task.text_arrays(task._sequences(["red dog", "blue cat sits"]))
        words = {name: paddle.to_tensor(value) for name, value in texts.items()}
        found = task._words(words).features.numpy()
        states = task.model.encoder(**words).states.numpy()
    layer = task.model.contrast.text_projection
    for row, own, mask in zip(found, states, texts["text_mask"]):
        vector = own[mask == 1].mean(axis=0) @ layer.weight.numpy() + layer.bias.numpy()
        np.testing.assert_allclose(row, vector / np.linalg.norm(vector), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shown", ["shown", "shuffled"])
def test_training_ranks_unseen_images(shown, config):
    """Compositional captions are found on images never seen; with shuffled images the same training finds nothing."""
    settings = config(f"image_input={shown}", "retrieval.k_test=0")
    run_task(Run(None), settings, VisualBertRetrieval, load_initial)
    recall = json.loads(Path(settings.output_dir, "metrics.json").read_text())["best"]["r_mean"]
    assert recall > 80 if shown == "shown" else recall < 80, recall


def test_a_match_is_scored_as_in_the_ranking(config):
    task = task_of(config())
    keys = [record.image for record in task.records("val")]
    gallery = task.open_gallery(lambda: iter([keys[:3], keys[3:]]))
    scores = gallery.scores(["red dog runs"])[0]
    gallery.close()
    matches = task.match([Example((key,), "red dog runs") for key in keys])
    np.testing.assert_allclose(
        scores, [np.log(m.probability / (1 - m.probability)) for m in matches], rtol=1e-3, atol=1e-4
    )


def test_it_starts_from_a_model_of_pre_training(config, tmp_path):
    """The sentence-image head comes along: it is the same head."""
    task = task_of(config())
    seed_initial(5)
    other = VisualBertForPretraining(task.config.model)
    other.save_pretrained(tmp_path / "pretrained")
    load_initial(task.model, str(tmp_path / "pretrained"), [r"^contrast\."])
    np.testing.assert_array_equal(task.model.sentence_image.weight.numpy(), other.sentence_image.weight.numpy())


def test_without_features_to_compare_it_is_refused(config):
    with pytest.raises(InputError, match=r"contrast\.dim"):
        task_of(config("model.contrast.dim=0"))
