"""A drawn world with ALBEF's lists, and configurations small enough for tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from albef_paddle.sample import make_lists
from pyutils.sample.world import write_world

PARTS = ["vqa", "coco", "nlvr2", "refcoco+", "snli-ve", "retrieval"]


@dataclass(frozen=True)
class World:
    """`data`: the folder of images and lists; `vocabulary`: its vocab.txt."""

    data: Path
    vocabulary: Path

    def lists(self, **splits: str) -> dict[str, list[str]]:
        """`data.splits` from split names to lists."""
        return {split: [str(self.data / "albef" / name)] for split, name in splits.items()}


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    """A drawn world of 40 scenes."""
    folder = tmp_path_factory.mktemp("albef") / "world"
    write_world(folder, 40, 0, PARTS, 192)
    return World(make_lists(folder), folder / "vocab.txt")


@pytest.fixture
def write_yaml(world, tmp_path):
    """Writes a tiny configuration: `write_yaml(images, splits, **entries)` gives its path."""

    def write(images: str, splits: dict[str, list[str]], **entries) -> Path:
        tree = {
            "output_dir": str(tmp_path / "run"),
            "tokenizer": str(world.vocabulary),
            "model": {
                "vision": {"image_size": 32, "patch_size": 8, "width": 16, "depth": 2, "num_heads": 2},
                "text": {
                    "vocab_size": 0,
                    "hidden_size": 16,
                    "num_layers": 3,
                    "fusion_layer": 1,
                    "num_heads": 2,
                    "intermediate_size": 24,
                    "max_positions": 64,
                },
                "embed_dim": 8,
                "queue_size": 20,
                "decoder_layers": 2,
            },
            "data": {"images": [str(world.data / images)], "splits": splits},
            "train": {
                "batch_size": 8,
                "epochs": 1,
                "workers": 0,
                "max_steps": 2,
                "scalars": False,
                "optimizer": {"lr": 1.0e-3},
            },
            **entries,
        }
        path = tmp_path / "albef.yaml"
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return path

    return write
