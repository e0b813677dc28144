"""CPU set-up that must happen before Paddle is imported.

Paddle's CPU wheel runs one thread, and its MKL takes a slow code path on AMD processors unless told which instruction
set to use. `prepare()` is called when `pyutils` is imported; it only touches the environment, never imports Paddle.
`pyutils.compat.use_cpu_threads` applies the thread count once Paddle is there.

A user's own settings win: `MKL_DEBUG_CPU_TYPE`, `OMP_NUM_THREADS` and `PYUTILS_CPU_THREADS` are never overwritten.
"""

from __future__ import annotations

import os
import zlib  # noqa: F401 - Paddle 2.6 carries a zlib of its own and breaks Python's when that is loaded after it
from pathlib import Path


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, frozenset[str]]:
    """(vendor, instruction-set flags) of the first processor; ("", empty) where the system does not say."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", frozenset()
    vendor, flags = "", frozenset()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "vendor_id" and not vendor:
            vendor = value.strip()
        elif name.strip() == "flags" and not flags:
            flags = frozenset(value.split())
    return vendor, flags


def mkl_cpu_type(vendor: str, flags: frozenset[str]) -> str | None:
    """The `MKL_DEBUG_CPU_TYPE` that gives an AMD processor MKL's fast path, or None where nothing need be set."""
    if vendor != "AuthenticAMD":
        return None
    if "avx512f" in flags:
        return "7"
    return "5" if "avx2" in flags else None


def thread_count() -> int:
    """Threads for one process: `PYUTILS_CPU_THREADS`, else `OMP_NUM_THREADS`, else the usable cores shared by the
    processes that `paddle.distributed.launch` started on this machine."""
    for name in ("PYUTILS_CPU_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            return int(value)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    local_processes = int(os.environ.get("PADDLE_LOCAL_SIZE") or os.environ.get("PADDLE_TRAINERS_NUM") or 1)
    return max(1, cores // max(1, local_processes))


def prepare() -> None:
    """Set the environment variables that Paddle's libraries read when they load."""
    cpu_type = mkl_cpu_type(*cpu_flags())
    if cpu_type is not None:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", cpu_type)
    # Forked data workers tokenize; threads of the tokenizer's own would only wait for one another there.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
