"""CPU set-up that must happen before Paddle is imported.

Paddle's CPU wheel runs one thread, its MKL takes a slow code path on AMD processors unless told which instruction set
to use, and every large tensor is fresh memory from the system. `prepare()` is called when `pyutils` is imported; it
touches the environment and the C library's memory settings, and never imports Paddle.
`pyutils.compat.use_cpu_threads` applies the thread count once Paddle is there.

A user's own settings win: `MKL_DEBUG_CPU_TYPE`, `OMP_NUM_THREADS` and `PYUTILS_CPU_THREADS` are never overwritten.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
import zlib  # noqa: F401 - Paddle 2.6 carries a zlib of its own and breaks Python's when that is loaded after it
from pathlib import Path

# Parameters of glibc's mallopt.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, frozenset[str]]:
    """(vendor, instruction-set flags) of the first processor; ("", empty) where the system does not say."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", frozenset()
    vendor, flags = "", frozenset[str]()
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


def keep_freed_memory(largest_block: int = 32 << 20, kept: int = 1 << 30) -> bool:
    """Let the C library reuse freed blocks of up to `largest_block` bytes, and hold back up to `kept` free bytes.

    By default glibc returns a large block to the system when it is freed, and the next tensor pays again for every page
    it touches: adding two 11 MB tensors took 7 ms instead of 0.3. 32 MB is the largest threshold glibc accepts. Returns
    whether it was done: not on other C libraries, nor when the user has set one of glibc's `MALLOC_…_` variables.
    """
    own = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")
    if any(name in os.environ for name in own) or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_MMAP_THRESHOLD, largest_block), (_TRIM_THRESHOLD, kept), (_TOP_PAD, 2 * largest_block))
    done = [mallopt(name, value) for name, value in settings]
    return all(result == 1 for result in done)


def prepare() -> None:
    """Set the environment variables that Paddle's libraries read when they load, and the memory settings."""
    keep_freed_memory()
    # Paddle says so at every import; nothing here compiles C++ extensions.
    warnings.filterwarnings("ignore", message="No ccache found")
    cpu_type = mkl_cpu_type(*cpu_flags())
    if cpu_type is not None:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", cpu_type)
    # Forked data workers tokenize; threads of the tokenizer's own would only wait for one another there.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
