"""The flags that users of the original scripts type, and where the default configurations are."""

from __future__ import annotations

from pathlib import Path

from pyutils.config.command_line import Flag

DEFAULT_CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "albef"

_WHERE = "accepted as the original has it; paddle.distributed.launch decides"

COMMON_FLAGS = [
    Flag(("--text_encoder", "--textencoder"), "tokenizer", help="vocab.txt, a folder with one, or a name"),
    Flag("--checkpoint", "init", help="weights to start from or to evaluate"),
    Flag("--device", None, choices=("cuda", "gpu", "cpu"), help="cpu keeps a GPU unused"),
    Flag("--distributed", None, type=bool, help=_WHERE),
    Flag("--world_size", None, type=int, help=_WHERE),
    Flag("--dist_url", None, help=_WHERE),
    Flag("--batch_size", "train.batch_size", type=int),
    Flag("--learning_rate", "train.optimizer.lr", type=float),
    Flag("--num_train_epochs", "train.epochs", type=int),
    Flag("--gradient_accumulation_steps", "train.accumulation_steps", type=int),
    Flag("--num_workers", "train.workers", type=int),
]

GROUNDING_FLAGS = [
    *COMMON_FLAGS,
    Flag("--gradcam_mode", "mode", choices=("itm", "itc"), help="score whose gradient is looked at"),
    Flag("--block_num", "block_num", type=int, help="block whose attention is looked at"),
]
