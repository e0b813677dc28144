"""Our checkpoints under the names of other code bases and back: identical bytes, for every model and head."""

from __future__ import annotations

import numpy as np
import pytest

from albef_paddle.checkpoints.names import NAMES as ALBEF_NAMES
from albef_paddle.config import AlbefConfig, TextConfig, VisionConfig
from albef_paddle.network.classification import AlbefForEntailment, AlbefForReasoning
from albef_paddle.network.pretraining import AlbefForPretraining
from albef_paddle.network.question_answering import AlbefForQuestionAnswering
from albef_paddle.network.retrieval import AlbefForRetrieval
from albef_paddle.network.text_assignment import AlbefForTextAssignment
from pyutils.weights import converting, read
from pyutils.weights.__main__ import main
from pyutils.weights.checkpoint import save_checkpoint
from vilbert_paddle.checkpoints.weights import NAMES as VILBERT_NAMES
from vilbert_paddle.config import RegionStreamConfig, StreamConfig, VilbertConfig
from vilbert_paddle.network.heads import HEADS, VilbertForPretraining, VilbertForTasks
from visualbert_paddle.checkpoints.names import NAMES as VISUALBERT_NAMES
from visualbert_paddle.config import VisualBertConfig
from visualbert_paddle.network import heads

ALBEF = AlbefConfig(
    vision=VisionConfig(image_size=16, patch_size=8, width=16, depth=2, num_heads=2),
    text=TextConfig(vocab_size=30, hidden_size=16, num_layers=4, fusion_layer=2, num_heads=2, intermediate_size=24,
                    max_positions=16),
    embed_dim=8, queue_size=6, decoder_layers=3,
)  # fmt: skip
VILBERT = {
    "vocab_size": 30, "max_positions": 16, "region_dim": 6, "region_targets": 7, "bridge_size": 12, "bridge_heads": 3,
    "text": StreamConfig(hidden_size=16, num_layers=3, num_heads=2, intermediate_size=24, connect_at=(1, 2)),
    "regions": RegionStreamConfig(hidden_size=12, num_layers=2, num_heads=2, intermediate_size=20, connect_at=(0, 1)),
}  # fmt: skip
VISUALBERT = {"vocab_size": 30, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 24,
              "max_positions": 16, "visual_dim": 6}  # fmt: skip


def vilbert(heads, **changes) -> VilbertForTasks:
    return VilbertForTasks(VilbertConfig(**VILBERT, **changes), heads)


MODELS = {
    "albef pretraining": lambda: AlbefForPretraining(ALBEF),
    "albef retrieval": lambda: AlbefForRetrieval(ALBEF),
    "albef vqa": lambda: AlbefForQuestionAnswering(ALBEF),
    "albef entailment": lambda: AlbefForEntailment(ALBEF),
    "albef reasoning": lambda: AlbefForReasoning(ALBEF),
    "albef assignment": lambda: AlbefForTextAssignment(ALBEF),
    "vilbert pretraining": lambda: VilbertForPretraining(VilbertConfig(**VILBERT)),
    "vilbert encoder": lambda: vilbert([]),
    "vilbert tasks": lambda: vilbert(list(HEADS)),
    "vilbert tokens": lambda: vilbert(["vqa"], task_tokens=20),
    "vilbert gates": lambda: vilbert(["pair"], gated_regions=True),
    "vilbert weight norm": lambda: vilbert({"vqa": 9, "gqa": 5, "region": None}, classifier="weight_norm"),
    **{f"vilbert {head}": (lambda head=head: vilbert([head])) for head in HEADS},
    "visualbert pretraining": lambda: heads.VisualBertForPretraining(VisualBertConfig(**VISUALBERT)),
    "visualbert bypass": lambda: heads.VisualBertForPretraining(VisualBertConfig(**VISUALBERT, bypass_encoder=True)),
    "visualbert vqa": lambda: heads.VisualBertForQuestionAnswering(VisualBertConfig(**VISUALBERT), 11),
    "visualbert nlvr2": lambda: heads.VisualBertForReasoning(VisualBertConfig(**VISUALBERT)),
    "visualbert vcr": lambda: heads.VisualBertForMultipleChoice(VisualBertConfig(**VISUALBERT)),
    "visualbert flickr": lambda: heads.VisualBertForPhraseGrounding(VisualBertConfig(**VISUALBERT)),
}
NAMES = {"albef": ALBEF_NAMES, "vilbert": VILBERT_NAMES, "visualbert": VISUALBERT_NAMES}
# Code bases that have no such model, or no place for one of its parts.
WITHOUT = {
    *((model, "torchmultimodal") for model in ("albef pretraining", "albef entailment", "albef reasoning",
                                               "albef assignment")),
    *((f"visualbert {task}", "mmf") for task in ("vqa", "nlvr2", "vcr", "flickr")),
    ("visualbert flickr", "paddlenlp"),
}  # fmt: skip


def arrays_of(model) -> dict[str, np.ndarray]:
    """The model's tensors, each with values of its own."""
    rng, found = np.random.default_rng(1), {}
    for name, value in model.state_dict().items():
        array = value.numpy()
        if array.dtype.kind == "f":
            array = rng.normal(0, 0.1, array.shape).astype(array.dtype)
        found[name] = array
    return found


def pairs():
    for model in MODELS:
        for names in NAMES[model.split()[0]]:
            if (model, names) not in WITHOUT:
                yield model, names


@pytest.mark.parametrize(("model", "names"), list(pairs()))
def test_there_and_back_gives_identical_bytes(model, names):
    family, ours = model.split()[0], arrays_of(MODELS[model]())
    if names == "lavis":  # it has no token types
        ours = {n: np.zeros_like(value) if "token_types" in n else value for n, value in ours.items()}
    theirs = converting.to_theirs(family, ours, names)
    assert not set(theirs) & set(ours)
    back = converting.to_ours(family, theirs, model)
    assert set(back) == set(ours)
    for name, value in ours.items():
        assert back[name].tobytes() == np.ascontiguousarray(value).tobytes() and back[name].shape == value.shape, name


@pytest.mark.parametrize(("model", "names"), sorted(WITHOUT))
def test_a_code_base_without_such_a_model_says_so(model, names):
    with pytest.raises(ValueError, match="no name for|no place for"):
        converting.to_theirs(model.split()[0], arrays_of(MODELS[model]()), names)


@pytest.mark.parametrize("model", MODELS)
def test_a_checkpoint_folder_goes_there_and_back_through_the_command(tmp_path, model):
    family = model.split()[0]
    save_checkpoint(tmp_path / "ours", MODELS[model]())
    names = next(iter(NAMES[family]))
    theirs, back = str(tmp_path / "theirs.safetensors"), tmp_path / "back"
    assert main(["convert", str(tmp_path / "ours"), theirs, "--model", family, "--names", names]) == 0
    assert main(["convert", theirs, str(back), "--model", family]) == 0
    ours, again = read(tmp_path / "ours/model.safetensors"), read(back / "model.safetensors")
    assert set(ours) == set(again) and all(again[name].tobytes() == value.tobytes() for name, value in ours.items())
