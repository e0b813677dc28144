"""Export a trained model for serving.

python -m pyutils.export --model visualbert-vqa --checkpoint output/vqa2 --output served/vqa2 [--onnx]
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from pyutils.config.command_line import run_main

# What can be exported → (module, function that makes an Exportable of a checkpoint, its further arguments).
EXPORTS = {
    "albef-retrieval": ("albef_paddle.export", "retrieval", ()),
    "albef-vqa": ("albef_paddle.export", "question_answering", ()),
    "albef-ve": ("albef_paddle.export", "entailment", ()),
    "albef-nlvr2": ("albef_paddle.export", "reasoning", ()),
    "vilbert-vqa": ("vilbert_paddle.export", "exportable", ("vqa",)),
    "vilbert-nlvr2": ("vilbert_paddle.export", "exportable", ("pair",)),
    "vilbert-ve": ("vilbert_paddle.export", "exportable", ("entailment",)),
    "vilbert-retrieval": ("vilbert_paddle.export", "exportable", ("match",)),
    "vilbert-refer": ("vilbert_paddle.export", "exportable", ("region",)),
    "visualbert-vqa": ("visualbert_paddle.export", "question_answering", ()),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, export, report; status 0."""
    parser = argparse.ArgumentParser(
        prog="python -m pyutils.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, choices=sorted(EXPORTS))
    parser.add_argument(
        "--checkpoint", required=True, help="checkpoint folder, output folder of a run, or a known name"
    )
    parser.add_argument("--output", required=True, type=Path, help="folder to write")
    parser.add_argument("--onnx", action="store_true", help="also write model.onnx (needs paddle2onnx)")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="largest difference from the model allowed")
    options = parser.parse_args(arguments)
    from pyutils.export.program import export

    module, function, arguments = EXPORTS[options.model]
    item = getattr(importlib.import_module(module), function)(options.checkpoint, *arguments)
    gap = export(item, options.output, options.onnx, options.tolerance)
    print(f"{options.output}: exported; largest difference from the model {gap:.2g}")
    return 0


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
