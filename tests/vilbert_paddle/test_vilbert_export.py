"""Exported ViLBERT: equal to the model at any size, answers and finds regions on its own."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from pyutils.data.features import RegionFeatures
from pyutils.errors import InputError
from pyutils.export.__main__ import main
from pyutils.text.tokenizer import WordPiece
from vilbert_paddle.config import RegionStreamConfig, StreamConfig, VilbertConfig
from vilbert_paddle.data.regions import held_regions, region_arrays
from vilbert_paddle.data.texts import text_batch
from vilbert_paddle.export import AnsweringPredictor, RegionPredictor
from vilbert_paddle.network.heads import VilbertForTasks

_PIECES = "[PAD] [UNK] [CLS] [SEP] [MASK] ? what colour is the box are there two red"
PIECES = _PIECES.split()
ANSWERS = ["<unk>", "yes", "no", "red", "two"]
TEXTS = ["what colour is the box ?", "are there two ?", "red ?", "the box"]
SIZES = {
    "vocab_size": len(PIECES), "max_positions": 32, "region_dim": 6, "region_targets": 7, "bridge_size": 12,
    "bridge_heads": 3, "init_std": 0.3,
    "text": StreamConfig(hidden_size=16, num_layers=2, num_heads=2, intermediate_size=24, connect_at=(1,)),
    "regions": RegionStreamConfig(hidden_size=12, num_layers=1, num_heads=2, intermediate_size=20, connect_at=(0,)),
}  # fmt: skip
HEADS = {"vqa": len(ANSWERS), "pair": None, "entailment": None, "match": None, "region": None}
NAMES = {"vqa": "vqa", "nlvr2": "pair", "ve": "entailment", "retrieval": "match", "refer": "region"}
KINDS = {"plain": {}, "tokens": {"task_tokens": 20}, "gates": {"gated_regions": True}}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A checkpoint folder of each kind of network, as a run writes it."""
    root = tmp_path_factory.mktemp("vilbert")
    (root / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    for name, changes in KINDS.items():
        paddle.seed(1)
        VilbertForTasks(VilbertConfig(**SIZES, **changes), HEADS).save_pretrained(
            root / name / "best", root / "vocab.txt"
        )
        best = root / name / "best"
        (best / "trainval_ans.txt").write_text("\n".join(ANSWERS) + "\n")
        text = (best / "config.yaml").read_text()
        (best / "config.yaml").write_text(text + "max_text: 8\ntask_number: 3\nvqa: {answers: data/trainval_ans.txt}\n")
    return root


def pictures() -> list[RegionFeatures]:
    rng, found = np.random.default_rng(0), []
    for count in (3, 6, 1, 2):
        corners = np.sort(rng.random((count, 2, 2)), axis=1).reshape(count, 4)
        boxes = (corners * [40, 30, 40, 30]).astype("float32")
        found.append(RegionFeatures(rng.standard_normal((count, 6)).astype("float32"), boxes, 40, 30))
    return found


def expected(checkpoints, kind: str, head: str) -> np.ndarray:
    """The model's scores for TEXTS and `pictures()`."""
    model = VilbertForTasks.from_pretrained(checkpoints / kind)
    arrays = {
        **text_batch(WordPiece(checkpoints / "vocab.txt"), TEXTS, 8),
        **region_arrays(held_regions(pictures(), ["0", "1", "2", "3"], 100)),
    }
    if kind == "tokens":
        arrays["task_ids"] = np.full((4, 1), 3)
    with paddle.no_grad():
        return model(head, **{name: paddle.to_tensor(value) for name, value in arrays.items()}).numpy()


@pytest.mark.parametrize(
    ("kind", "name"),
    [("tokens", "vqa"), ("gates", "refer"), *(pytest.param("plain", name, marks=pytest.mark.slow) for name in NAMES)],
)
def test_scores_equal_those_of_the_model(checkpoints, tmp_path, kind, name):
    arguments = ["--checkpoint", str(checkpoints / kind), "--output", str(tmp_path / "served")]
    assert main(["--model", f"vilbert-{name}", *arguments]) == 0
    scores = RegionPredictor(tmp_path / "served").scores(TEXTS, pictures())
    np.testing.assert_allclose(scores, expected(checkpoints, kind, NAMES[name]), rtol=1e-5, atol=1e-5)
    if name == "vqa":
        answered = AnsweringPredictor(tmp_path / "served").answer(TEXTS, pictures(), top=9)
        for row, found in zip(scores, answered):
            assert [answer.text for answer in found[:4]] == [ANSWERS[1 + place] for place in np.argsort(-row[1:])]


def test_what_does_not_fit_is_named(checkpoints, tmp_path):
    arguments = ["--checkpoint", str(checkpoints / "plain"), "--output", str(tmp_path / "served")]
    assert main(["--model", "vilbert-retrieval", *arguments]) == 0
    predictor = RegionPredictor(tmp_path / "served")
    with pytest.raises(InputError, match="expected 6-d regions, image 0 has 5-d ones"):
        predictor.scores(["red"], [RegionFeatures(np.ones((2, 5), "float32"), np.zeros((2, 4), "float32"), 4, 4)])
    with pytest.raises(InputError, match="1 texts and 2 images"):
        predictor.scores(["red"], pictures()[:2])
    (tmp_path / "served" / "vocab.txt").unlink()
    with pytest.raises(InputError, match=r"vocab\.txt"):
        RegionPredictor(tmp_path / "served")
    VilbertForTasks(VilbertConfig(**SIZES), ["region"]).save_pretrained(tmp_path / "one")
    with pytest.raises(InputError, match="holds no head 'match': known: region"):
        main(["--model", "vilbert-retrieval", "--checkpoint", str(tmp_path / "one"), "--output", str(tmp_path / "x")])
