"""CPU set-up that must happen before Paddle is imported, and this process among those of a run.

Paddle's CPU wheel runs one thread, its MKL uses a slow code path on AMD processors by default, and every large tensor
is new memory from the system. Importing `pyutils` calls `prepare()`, which sets environment variables and the C
library's memory settings and never imports Paddle. `pyutils.compat` sets the thread count after Paddle is imported.

`MKL_DEBUG_CPU_TYPE`, `OMP_NUM_THREADS` and `PYUTILS_CPU_THREADS` of the user are never overwritten.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import warnings
import zlib  # noqa: F401 - Paddle 2.6 carries a zlib of its own and breaks Python's when that is loaded after it
from pathlib import Path

# Parameters of glibc's mallopt.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_PR_SET_PDEATHSIG = 1

# Signals that stop a training after its step. SIGHUP: the terminal was closed; SIGUSR1: batch systems announce the end
# of the time slot by it. Absent on Windows.
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, frozenset[str]]:
    """Return (vendor, instruction-set flags) of the first processor; ("", empty) if unknown."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", frozenset()
    first: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        first.setdefault(name.strip(), value.strip())
    return first.get("vendor_id", ""), frozenset(first.get("flags", "").split())


def mkl_cpu_type(vendor: str, flags: frozenset[str]) -> str | None:
    """Return the `MKL_DEBUG_CPU_TYPE` for MKL's fast path on an AMD processor; None for others."""
    if vendor != "AuthenticAMD":
        return None
    if "avx512f" in flags:
        return "7"
    return "5" if "avx2" in flags else None


def thread_count() -> int:
    """Return the threads of a process: `PYUTILS_CPU_THREADS`, else `OMP_NUM_THREADS`, else the usable cores divided by
    the processes that `paddle.distributed.launch` started on this machine."""
    for name in ("PYUTILS_CPU_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            return int(value)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    local_processes = int(os.environ.get("PADDLE_LOCAL_SIZE") or os.environ.get("PADDLE_TRAINERS_NUM") or 1)
    return max(1, cores // max(1, local_processes))


def keep_freed_memory() -> bool:
    """Let glibc reuse freed blocks of up to 32 MB (its largest threshold) and keep up to 1 GB of free memory.

    By default it returns large freed blocks to the system, and the next tensor pays again for every page: adding two
    11 MB tensors took 7 ms instead of 0.3. Returns False, without a change, for other C libraries and for users with
    their own `MALLOC_…_` variables.
    """
    own = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")
    if any(name in os.environ for name in own) or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 1 << 30), (_TOP_PAD, 64 << 20))
    return {mallopt(name, value) for name, value in settings} == {1}


def prepare() -> None:
    """Set the memory settings and the environment variables that Paddle's libraries read when they load."""
    keep_freed_memory()
    # A warning of Paddle at every import; nothing here compiles C++ extensions.
    warnings.filterwarnings("ignore", message="No ccache found")
    cpu_type = mkl_cpu_type(*cpu_flags())
    if cpu_type is not None:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", cpu_type)
    # Data workers tokenize in forked processes, where threads of the tokenizer would only block each other.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def end_with_parent(number: int) -> None:
    """Have this process receive the signal `number` when its parent dies, however that dies; on Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def rank() -> int:
    """Return the number of this process, 0 … world_size() - 1."""
    return int(os.environ.get("PADDLE_TRAINER_ID", "0")) if world_size() > 1 else 0


def world_size() -> int:
    """Return the number of processes."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))


def is_main() -> bool:
    """Return True in the process that writes files and prints."""
    return rank() == 0
