"""Time and memory of converting a full-size checkpoint: `python benchmarks/weights_conversion.py [--model albef]`.

Writes a PyTorch file of random values in the layout of the published pre-training checkpoint (ALBEF: momentum encoders,
queues of 65,536, nested in {"model": …}), converts it with `python -m pyutils.weights convert`, and prints the time,
the peak memory of that process and the size of the file. Pages of the memory-mapped source count as memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

MAKERS = {
    "albef": """
from albef_paddle.config import AlbefConfig
from albef_paddle.network.pretraining import AlbefForPretraining
from albef_paddle.checkpoints.weights import to_names
model = AlbefForPretraining(AlbefConfig())
tensors = to_names({name: value.numpy() for name, value in model.state_dict().items()}, "authors")
""",
    "visualbert": """
from visualbert_paddle.config import VisualBertConfig
from visualbert_paddle.network.heads import VisualBertForPretraining
from visualbert_paddle.checkpoints.weights import to_names
model = VisualBertForPretraining(VisualBertConfig())
tensors = to_names({name: value.numpy() for name, value in model.state_dict().items()}, "authors")
""",
}
WRITE = """
import sys
from pathlib import Path
from tests.pyutils.weights.torch_files import write_zip
write_zip(Path(sys.argv[1]), {"model": tensors, "epoch": 29})
"""


def main() -> None:
    """Parse the command line, write the file, convert it, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(MAKERS), default="albef")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="directory with space for two such files"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        source = Path(folder) / "checkpoint.pth"
        subprocess.run([sys.executable, "-c", MAKERS[options.model] + WRITE, str(source)], check=True, cwd=ROOT)
        print("| dtype | file MiB | written MiB | seconds | peak MiB | of it interpreter and Paddle | peak / file |")
        print("|---|---|---|---|---|---|---|")
        for dtype in (None, "float16", "bfloat16"):
            print(row(options.model, source, Path(folder) / "ours.safetensors", dtype), flush=True)


def row(model: str, source: Path, target: Path, dtype: str | None) -> str:
    """Measure one conversion; returns a row of the table."""
    command = [sys.executable, "-m", "pyutils.weights", "convert", str(source), str(target), "--model", model]
    seconds, peak = run([*command, "--dtype", dtype] if dtype else command)
    _, idle = run([sys.executable, "-c", "import pyutils.weights.__main__, albef_paddle.checkpoints.weights"])
    size, written = source.stat().st_size / 2**20, target.stat().st_size / 2**20
    figures = f"{size:.0f} | {written:.0f} | {seconds:.1f} | {peak:.0f} | {idle:.0f} | {(peak - idle) / size:.2f}"
    return f"| {dtype or 'as read'} | {figures} |"


def run(command: list[str]) -> tuple[float, float]:
    """(seconds, peak resident MiB) of a process of its own."""
    wrapper = (
        "import resource, subprocess, sys, time\n"
        "begun = time.perf_counter()\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", wrapper, *command], check=True, cwd=ROOT, capture_output=True, text=True
    )
    seconds, peak = done.stdout.split()
    return float(seconds), float(peak)


if __name__ == "__main__":
    main()
