"""Importing a model's network loads no checkpoint code; its first `from_pretrained` does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("package", ["albef_paddle", "vilbert_paddle", "visualbert_paddle"])
def test_networks_are_imported_without_checkpoint_code(package):
    modules = [f"{package}.network.{file.stem}" for file in sorted((ROOT / package / "network").glob("[a-z]*.py"))]
    code = (
        f"import sys, {', '.join(modules)}\n"
        "print([name for name in sys.modules if name.startswith('pyutils.weights') or '.checkpoints' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert modules and done.stdout.strip() == "[]"


def test_a_subclass_of_a_model_is_loaded_by_the_model_s_package(tmp_path):
    from pyutils.packages import PretrainedModel
    from visualbert_paddle.config import VisualBertConfig
    from visualbert_paddle.network.heads import VisualBertForReasoning

    class Own(VisualBertForReasoning):
        pass

    sizes = {"vocab_size": 9, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "intermediate_size": 8}
    model = VisualBertForReasoning(VisualBertConfig(**sizes))
    model.save_pretrained(tmp_path / "m")
    again = Own.from_pretrained(tmp_path / "m", hidden_dropout=0.0)
    assert isinstance(again, Own) and again.config.hidden_size == 8 and again.config.hidden_dropout == 0
    with pytest.raises(NotImplementedError, match="Alone"):
        type("Alone", (PretrainedModel,), {"__module__": "elsewhere"}).from_pretrained("x")
