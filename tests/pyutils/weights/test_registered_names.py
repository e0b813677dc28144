"""Every registered name with narrow stand-ins of its published layout: does it load, does it answer?

The files themselves are not read by any test; docs/weights.md says so, and its table is what this test finds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import save_file

import albef_paddle as albef
import vilbert_paddle as vilbert
import visualbert_paddle as visualbert
from albef_paddle.checkpoints import to_names as albef_names
from albef_paddle.config import TextConfig, VisionConfig
from pyutils import pipeline
from pyutils.data.features import RegionFeatures
from pyutils.download import published as downloads
from pyutils.weights import registry
from vilbert_paddle.checkpoints import to_names as vilbert_names
from vilbert_paddle.config import RegionStreamConfig, StreamConfig
from visualbert_paddle.checkpoints import to_names as visualbert_names

ROOT = Path(__file__).resolve().parents[3]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "is", "it", "red", "?", "yes", "no", "the", "[unused0]"]
ANSWERS = ["yes", "no", "red"]
BERT = {"vocab_size": len(PIECES), "hidden_size": 16, "num_heads": 2, "intermediate_size": 24, "max_positions": 40}
STREAM = {"num_heads": 2, "num_layers": 1, "connect_at": (0,)}
ALBEF = albef.AlbefConfig(
    vision=VisionConfig(image_size=32, patch_size=16, width=16, depth=1, num_heads=2),
    text=TextConfig(num_layers=2, fusion_layer=1, **BERT),
    embed_dim=8, queue_size=4, decoder_layers=1,
)  # fmt: skip
VILBERT = vilbert.VilbertConfig(
    vocab_size=len(PIECES), max_positions=40, region_dim=8, region_targets=5, bridge_size=12, bridge_heads=2,
    text=StreamConfig(hidden_size=16, intermediate_size=24, **STREAM),
    regions=RegionStreamConfig(hidden_size=12, intermediate_size=20, **STREAM),
)  # fmt: skip
VISUALBERT = visualbert.VisualBertConfig(num_layers=1, visual_dim=8, **BERT)
HEADS = {  # what the tensors cannot tell
    "albef": {"model.vision.num_heads": 2, "model.text.num_heads": 2},
    "vilbert": {"model.text.num_heads": 2, "model.regions.num_heads": 2, "model.bridge_heads": 2,
                "model.text.connect_at": [0], "model.regions.connect_at": [0]},
    "visualbert": {"model.num_heads": 2},
}  # fmt: skip
OF_TASK = {"albef_vqa": {"k_test": 3}, "albef_grounding": {"block_num": 1}}  # narrower than the recipes' own
EVERY_HEAD = {"vqa": 3, "pair": None, "entailment": None, "match": None, "region": None}
REGIONS = RegionFeatures(np.ones((2, 8), np.float32), np.array([[0, 0, 9, 9], [4, 4, 20, 20]], np.float32), 32, 32)
PICTURE = np.zeros((32, 32, 3), np.uint8)
# Pipeline → what it is asked.
ASKED = {
    "visual-question-answering": lambda image: (image, "is it red?"),
    "image-text-matching": lambda image: (image, "it is red"),
    "grounding": lambda image: (image, "the red"),
    "nlvr": lambda image: (image, image, "it is red"),
    "visual-commonsense": lambda image: (image, "is it red ?", ["yes", "no", "red", "it"]),
}
# Name, or task of a name, or model → network, code base of the file's names, pipeline it is asked by ("": none).
LAYOUTS = {
    "albef": (lambda: albef.AlbefForPretraining(ALBEF), "authors", "image-text-matching"),
    "albef_retrieval": (lambda: albef.AlbefForRetrieval(ALBEF), "authors", "image-text-matching"),
    "albef_vqa": (lambda: albef.AlbefForVQA(ALBEF), "authors", "visual-question-answering"),
    "albef_grounding": (lambda: albef.AlbefForRetrieval(ALBEF), "authors", "grounding"),
    "albef-nlvr2-pre": (lambda: albef.AlbefForTextAssignment(ALBEF), "authors", ""),
    "vilbert": (lambda: vilbert.VilbertForPretraining(VILBERT), "authors", ""),
    "vilbert-12in1": (lambda: vilbert.VilbertForTasks(VILBERT, EVERY_HEAD), "authors", "nlvr"),
    "vilbert_refer": (lambda: vilbert.VilbertForTasks(VILBERT, ["region"]), "paddle_port", "grounding"),
    "visualbert": (lambda: visualbert.VisualBertForPretraining(VISUALBERT), "huggingface", ""),
    "visualbert-mmf-coco": (lambda: visualbert.VisualBertForPretraining(VISUALBERT), "mmf", ""),
    "visualbert_vqa": (lambda: visualbert.VisualBertForVQA(VISUALBERT, 3), "huggingface", "visual-question-answering"),
    "visualbert_nlvr2": (lambda: visualbert.VisualBertForReasoning(VISUALBERT), "huggingface", "nlvr"),
    "visualbert_vcr": (
        lambda: visualbert.VisualBertForMultipleChoice(VISUALBERT), "huggingface", "visual-commonsense"
    ),
}  # fmt: skip
TO_NAMES = {"albef": albef_names, "vilbert": vilbert_names, "visualbert": visualbert_names}
NAMES = sorted(name for name, entry in registry.entries().items() if entry.model in TO_NAMES and not entry.bundled)


def layout_of(entry):
    return LAYOUTS.get(entry.name) or LAYOUTS[entry.task or entry.model]


def documented() -> dict[str, list[str]]:
    """The rows of the table in docs/weights.md by name."""
    section = (ROOT / "docs/weights.md").read_text().partition("## Registered names")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "MODELS_HOME", tmp_path)
    monkeypatch.setenv(downloads.OFFLINE, "1")
    registry.forget()
    return tmp_path


def test_the_table_has_every_name():
    assert sorted(documented()) == sorted(registry.entries())
    for name, (fetched, *_) in documented().items():
        entry = registry.entries()[name]
        assert fetched == ("in the repository" if entry.bundled else "no" if entry.sources else "no source")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_loads_and_answers_as_the_table_says(name, home):
    entry = registry.entries()[name]
    make, names, asked = layout_of(entry)
    paddle.seed(1)
    model = make()
    tensors = TO_NAMES[entry.model]({key: value.numpy() for key, value in model.state_dict().items()}, names)
    (home / name).mkdir()
    save_file({key: np.array(value, order="C") for key, value in tensors.items()}, home / name / "model.safetensors")
    (home / name / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    (home / name / "answers_vqa.txt").write_text("\n".join(ANSWERS) + "\n")
    (home / name / "answer_list.json").write_text('["yes", "no", "red"]')
    heads = {key[len("model.") :]: value for key, value in HEADS[entry.model].items()}
    loaded = type(model).from_pretrained(name, **heads)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[key].numpy(), value.numpy(), err_msg=key)
    if asked:
        heads_and_task = {**HEADS[entry.model], **OF_TASK.get(entry.task, {})}
        ask = pipeline(asked, name, settings=heads_and_task)
        assert ask(*ASKED[asked](PICTURE if entry.model == "albef" else REGIONS)).to_dict()
    assert documented()[name][1:] == ["yes", asked or "no: to start from"]
