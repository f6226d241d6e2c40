"""The worker's side of the protocol (crates/mlxbench-core/PROTOCOL.md), for peers in Python.

A peer gives `serve` an object with `hello()`, `load(folder, placement, threads)` that returns the
number of threads in effect, `generate(request)` that returns (tokens, token_ns, finite, peak), and
`score(tokens, prompt, chunk)` that yields one list-like of f32 logits a position.
"""

import json
import os
import struct
import sys
import threading
import queue
import time

VERSION = 1


class Unsupported(Exception):
    """The framework can't do this here."""


class Clock:
    """Nanoseconds since a prompt was handed over."""

    def __init__(self):
        self.start = time.perf_counter_ns()

    def now(self):
        return time.perf_counter_ns() - self.start


def serve(worker):
    """Answers requests until stdin closes."""
    # Whatever else prints to stdout goes to stderr.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    lines = queue.Queue()
    threading.Thread(target=read_lines, args=(lines,), daemon=True).start()
    while True:
        try:
            reply = answer(worker, json.loads(lines.get()))
        except Unsupported as error:
            reply = {"type": "error", "kind": "unsupported", "message": str(error)}
        except Exception as error:
            words = f"{type(error).__name__}: {error}"
            reply = {"type": "error", "kind": "failed", "message": words}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def read_lines(lines):
    """A thread of its own, so that the process ends with stdin even in the middle of its work."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


def answer(worker, request):
    kind = request["type"]
    if kind == "hello":
        return {"type": "hello", "protocol": VERSION, **worker.hello()}
    if kind == "load":
        clock = Clock()
        threads = worker.load(request["model"], request["placement"], request.get("threads"))
        return {"type": "loaded", "load_ns": clock.now(), "threads": threads}
    if kind == "generate":
        if "logits" in request or request.get("stop"):
            raise Unsupported("this peer writes no logits and knows no stop tokens")
        tokens, token_ns, finite, peak = worker.generate(request)
        reply = {"type": "generated", "tokens": tokens, "token_ns": token_ns, "finite": finite}
        return reply if peak is None else {**reply, "device_peak_bytes": peak}
    if kind == "score":
        [tokens] = request["tokens"]
        rows = worker.score(tokens, request["prompt"], request["chunk"])
        write_logits(request["logits"], rows, len(tokens) - request["prompt"] + 1)
        return {"type": "scored"}
    raise ValueError(f"unknown request {kind}")


def dtype_of(placement, dtypes):
    """The framework's dtype for a precision, by its name in `dtypes`."""
    precision = placement["precision"]
    if precision not in dtypes:
        raise Unsupported(f"this peer has no {precision}, only {', '.join(dtypes)}")
    return dtypes[precision]


def write_logits(path, rows, count):
    """One f32 tensor `logits` of shape [count, vocab] as safetensors, row by row."""
    with open(path, "wb") as file:
        for index, row in enumerate(rows):
            data = row.tobytes()
            if index == 0:
                header = {"logits": {"dtype": "F32", "shape": [count, len(data) // 4],
                                     "data_offsets": [0, count * len(data)]}}
                text = json.dumps(header).encode()
                text += b" " * (-len(text) % 8)
                file.write(struct.pack("<Q", len(text)) + text)
            file.write(data)


def chunks(row, size):
    """`row` in pieces of at most `size`."""
    return [row[start:start + size] for start in range(0, len(row), size)]
