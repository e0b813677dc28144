"""Export a trained model for serving.

python -m pyutils.export --model visualbert-vqa --checkpoint output/vqa2 --output served/vqa2 [--onnx]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pyutils.config.command_line import run_main
from pyutils.packages import EXPORTS, announced


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, export, report; status 0."""
    parser = argparse.ArgumentParser(
        prog="python -m pyutils.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    exports = announced(EXPORTS)
    parser.add_argument("--model", required=True, choices=sorted(exports))
    parser.add_argument(
        "--checkpoint", required=True, help="checkpoint directory, output directory of a run, or a known name"
    )
    parser.add_argument("--output", required=True, type=Path, help="directory to write")
    parser.add_argument("--onnx", action="store_true", help="also write model.onnx (needs paddle2onnx)")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="largest permitted difference from the model")
    options = parser.parse_args(arguments)
    from pyutils.export.program import export

    item = exports[options.model].load()(options.checkpoint)
    gap = export(item, options.output, options.onnx, options.tolerance)
    print(f"{options.output}: exported; largest difference from the model {gap:.2g}")
    return 0


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
