"""Processes of one run watch each other: one that stands still is named; the others would wait for it in silence."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from pyutils import distributed

_SECONDS_BETWEEN_BEATS = 2.0
_LONGEST_BEAT = 1024
EXIT_STATUS = 75  # EX_TEMPFAIL of sysexits.h: try again, here with --resume auto


@dataclass
class Place:
    """Where a process is, in words that follow "waits for it" and "last heard"."""

    text: str = "at the start"


class Heartbeat:
    """Sends the place of this process to all others and listens for theirs, in two threads, over UDP.

    A frozen process (SIGSTOP, swapping, a dead machine) sends nothing. The others, which wait for it in a collective
    that cannot be interrupted, then say so and end with `EXIT_STATUS`. No checkpoint is written: a step is in progress.

    Args:
        timeout: seconds without a beat after which a process counts as frozen.
        place: where this process is; the caller keeps it up to date.
    """

    def __init__(self, timeout: float, place: Place):
        self._timeout, self._place, self._rank = timeout, place, distributed.rank()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(_SECONDS_BETWEEN_BEATS)
        host = _own_host(self._rank)
        self._socket.bind((host, 0))
        addresses = distributed.all_gather_objects((host, self._socket.getsockname()[1]))
        self._others = {rank: address for rank, address in enumerate(addresses) if rank != self._rank}
        now = time.monotonic()
        self._heard = {rank: (now, Place().text) for rank in self._others}
        self._ended = threading.Event()
        for work in (self._send, self._listen):
            threading.Thread(target=work, name=f"heartbeat {work.__name__}", daemon=True).start()

    def close(self) -> None:
        """Stop sending and listening; the others are told that this silence is meant."""
        self._beat("ended")
        self._ended.set()

    def _send(self) -> None:
        self._beat(self._place.text)
        while not self._ended.wait(_SECONDS_BETWEEN_BEATS):
            self._beat(self._place.text)

    def _beat(self, place: str) -> None:
        message = json.dumps([self._rank, place]).encode()
        for address in self._others.values():
            with suppress(OSError):  # its machine is gone: the silence tells
                self._socket.sendto(message, tuple(address))

    def _listen(self) -> None:
        checked = time.monotonic()
        while not self._ended.is_set():
            with suppress(OSError, ValueError, TypeError):
                rank, place = json.loads(self._socket.recv(_LONGEST_BEAT))
                if rank in self._heard:
                    self._heard[rank] = (time.monotonic(), str(place))
            now = time.monotonic()
            if (
                now - checked > self._timeout / 2
            ):  # this process itself stood still: the beats of the others lie waiting
                self._heard = {rank: (now, place) for rank, (_, place) in self._heard.items()}
            checked = now
            for rank, (heard, place) in list(self._heard.items()):
                if place == "ended":
                    del self._heard[rank]
                elif now - heard > self._timeout:
                    self._give_up(rank, place)

    def _give_up(self, rank: int, place: str) -> None:
        # Not console.say: only the main process speaks there, and any process may be the one that notices.
        print(
            f"process {rank} of the run has been silent for {self._timeout:.0f} seconds, last heard {place}; process "
            f"{self._rank} waits for it {self._place.text} and ends. Look at that process and its machine (stopped, "
            "out of memory, network), then go on with --resume auto.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(EXIT_STATUS)  # the main thread is inside a collective, where no exception reaches it


@contextmanager
def watching(timeout: float, place: Place) -> Iterator[None]:
    """A heartbeat among the processes of a run while the body runs; none for one process or a `timeout` of 0."""
    if distributed.world_size() == 1 or not timeout:
        yield
        return
    heartbeat = Heartbeat(timeout, place)
    try:
        yield
    finally:
        heartbeat.close()


def _own_host(rank: int) -> str:
    """The address of this process in the launcher's list; the loopback without one."""
    endpoints = os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")
    return endpoints[rank].rpartition(":")[0] if rank < len(endpoints) and ":" in endpoints[rank] else "127.0.0.1"
