"""The worker's side of the protocol (crates/mlxbench-core/PROTOCOL.md), for peers in Python.

A peer gives `serve` an object with `model`, None until one is loaded, `hello()`, `load(folder, placement, threads)`
that returns the number of threads in effect, what a read of a token waits for and the ways of doing a part of the
work, `generate(request)` that returns the keys of its reply, `score(request)` that yields an array of f32 logits, of
shape [rows, vocab], for each position, and `trainer(lora, gradients)` as lora.py says.
"""

import json
import os
import struct
import sys
import threading
import queue
import time

VERSION = 3


class Unsupported(Exception):
    """The framework can't do this here."""


class Invalid(Exception):
    """The request is at fault."""


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
        except Invalid as error:
            reply = {"type": "error", "kind": "invalid", "message": str(error)}
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
        if request["protocol"] != VERSION:
            raise Invalid(f"this worker speaks protocol {VERSION}, the runner {request['protocol']}: "
                          "take both from one checkout")
        return {"type": "hello", "protocol": VERSION, **worker.hello()}
    if kind == "load":
        if request.get("dequantised"):
            raise Unsupported("this peer doesn't dequantise: name another reference")
        device, _, way = request["placement"]["device"].partition("+")
        if way == "ple-cpu":
            raise Unsupported(f"this peer can't keep per-layer embeddings on the CPU: write {device}")
        clock = Clock()
        threads, reads, kernels = worker.load(
            request["model"], request["placement"], request.get("threads"))
        return {"type": "loaded", "load_ns": clock.now(), "threads": threads, "reads": reads, "kernels": kernels}
    if kind == "generate":
        if "logits" in request or request.get("stop"):
            raise Unsupported("this peer writes no logits and knows no stop tokens")
        return {"type": "generated", **worker.generate(request)}
    if kind == "score":
        tokens = request["tokens"]
        positions = len(tokens[0]) - request["prompt"] + 1
        write_logits(request["logits"], worker.score(request), positions * len(tokens))
        return {"type": "scored"}
    if kind == "train":
        import lora  # which imports this module

        return {"type": "trained", **lora.train(worker, request)}
    raise ValueError(f"unknown request {kind}")


def dtype_of(placement, dtypes):
    """The framework's dtype for a precision, by its name in `dtypes`."""
    precision = placement["precision"]
    if precision not in dtypes:
        raise Unsupported(f"this peer has no {precision}, only {', '.join(dtypes)}")
    return dtypes[precision]


def write_logits(path, positions, count):
    """One f32 tensor `logits` of shape [count, vocab] as safetensors, position by position."""
    with open(path, "wb") as file:
        for index, logits in enumerate(positions):
            if index == 0:
                vocab = logits.shape[-1]
                header = {"logits": {"dtype": "F32", "shape": [count, vocab],
                                     "data_offsets": [0, 4 * count * vocab]}}
                text = json.dumps(header).encode()
                text += b" " * (-len(text) % 8)
                file.write(struct.pack("<Q", len(text)) + text)
            file.write(logits.tobytes())


def skipped(config, words):
    """The label of what a library leaves out of a prompt in layers that share KV caches; none without such."""
    config = config.get("text_config") or config
    shares = config.get("num_kv_shared_layers")
    return {"prompt in layers that share KV": words} if shares else {}


def columns(rows, start, end=None):
    """Columns of every row."""
    return [row[start:end] for row in rows]


def chunks(rows, size):
    """`rows` in blocks of at most `size` columns."""
    return [columns(rows, start, start + size) for start in range(0, len(rows[0]), size)]
