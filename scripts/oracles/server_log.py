"""Holds what mlxbench's client saw of mlx_lm.server against the server's own log.

From the repository's root, in a Python from 3.11 on with mlx-lm (scripts/peers/mlx-lm makes one):

    .native/peers/mlx_lm/bin/python scripts/oracles/server_log.py LOG RESULT --measure CONFIG MODEL
    .native/peers/mlx_lm/bin/python scripts/oracles/server_log.py LOG RESULT

The first line starts mlx_lm.server with MODEL, a folder such as scripts/fetch-gemma3-270m prints, has `mlxbench run`
measure it by CONFIG, and leaves the server's log and the result in the files LOG and RESULT. The second compares what
lies there. A config for it, with any port that is free:

    name = "server-log"
    [model]
    source = "server:default_model"
    [measure]
    repetitions = 2
    max_warmup = 1
    [[test]]
    kind = "serve"
    prompt_tokens = 256
    generate_tokens = 64
    requests = 6
    [[target]]
    backend = "mlx-lm"
    dtypes = ["bf16"]
    [backend.mlx-lm]
    url = "http://127.0.0.1:8091/v1"
    endpoint = "completions"

Compared are the requests of tests with a single client, where the log's lines are of one request at a time. To the
server a request begins when its body has been read, and a token is there when it is logged, to the millisecond; the
client's TTFT has the connection in it, too, a few milliseconds, so prompts should take half a second. Prints TTFT and
the rate after the first token of each request, by both. Ends with 1 where the median of either over all requests is
off by more than 2 %, and with a message where log and result aren't of the same requests.
"""

import argparse
import datetime
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.parse

ROOT = pathlib.Path(__file__).parents[2]
LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - (\w+) - (.*)")
LIMIT = 0.02
SLACK = 0.01  # seconds that a request may come before its repetition began, by a clock that is cut to milliseconds
STARTS = 120  # seconds that the server has until it listens


def address(config):
    """Host and port of the config's only server, which must be this machine's own."""
    (backend,) = tomllib.loads(config.read_text())["backend"].values()
    url = urllib.parse.urlsplit(backend["url"])
    if url.hostname != "127.0.0.1" or not url.port:
        raise SystemExit(f"{config}: url is {backend['url']}: write http://127.0.0.1:PORT/v1")
    return url.hostname, url.port


def listens(address):
    try:
        socket.create_connection(address, timeout=1).close()
        return True
    except OSError:
        return False


def wait_for(server, address, log):
    """Returns once the server listens."""
    end = time.monotonic() + STARTS
    while not listens(address):
        if server.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"the server doesn't start: see {log}")
        time.sleep(0.1)


def measure(config, model, log, result, mlxbench):
    """Has the server measured; leaves its log and the result."""
    host, port = address(config)
    if listens((host, port)):
        raise SystemExit(f"something listens on port {port} already: write another one in {config}")
    words = ["--model", str(model), "--host", host, "--port", str(port), "--log-level", "DEBUG"]
    with log.open("w") as file, tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen([sys.executable, "-m", "mlx_lm", "server", *words], stdout=file, stderr=file)
        try:
            wait_for(server, (host, port), log)
            run = subprocess.run([str(mlxbench), "run", str(config), "--out", folder])
        finally:
            server.terminate()
            server.wait()
        # It ends with 3 where the config says no weights: what can't be compared with a reference.
        if run.returncode not in (0, 3):
            raise SystemExit(f"{mlxbench} ended with {run.returncode}")
        (written,) = pathlib.Path(folder).rglob("*Z.json")
        shutil.copy(written, result)


def logged(log):
    """When each request came, and when its tokens were there, in seconds since 1970."""
    requests = []
    for match in filter(None, map(LINE.match, log.read_text(errors="replace").split("\n"))):
        at, level, message = match.groups()
        at = datetime.datetime.strptime(at, "%Y-%m-%d %H:%M:%S,%f").timestamp()
        if message.startswith("Incoming Request Body"):
            requests.append((at, []))
        elif requests and message == "Starting stream:":
            requests[-1][1].clear()
        elif requests and level == "DEBUG":
            requests[-1][1].append(at)
    return requests


def measured(result):
    """Of each repetition with a single client: when it began and ended, in seconds since 1970, and its requests."""
    for sample in json.loads(result.read_text())["samples"]:
        if sample["test"].get("concurrency") == 1:
            began = datetime.datetime.fromisoformat(sample["started"]).timestamp()
            yield began, began + sample["wall_ns"] / 1e9, sample["requests"]


def figures(came, tokens, count):
    """TTFT in seconds, and tokens/s after the first token."""
    return tokens[0] - came, (count - 1) / (tokens[-1] - tokens[0])


def compared(log, result):
    """The figures of each request, by the client and by the log."""
    requests = logged(log)
    for began, ended, seen in measured(result):
        own = [request for request in requests if began - SLACK <= request[0] <= ended]
        if len(own) != len(seen):
            raise SystemExit(f"a repetition has {len(seen)} requests, and the log {len(own)} in its time")
        for client, (came, tokens) in zip(seen, own):
            count = client.get("completion_tokens")
            if len(tokens) != count:
                raise SystemExit(f"an answer has {count} tokens, and the log {len(tokens)}: {client.get('error')}")
            chunks = [at / 1e9 for at in client["chunk_ns"]]
            if client.get("finish_reason") == "stop" and "finish_ns" in client:
                # The stop token has no text.
                chunks.append(client["finish_ns"] / 1e9)
            yield figures(client["start_ns"] / 1e9, chunks, count), figures(came, tokens, count)


def median(numbers):
    """That of Python's statistics, a name that a file beside this one has."""
    ordered = sorted(numbers)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def row(name, client, server):
    """A line of the table; how far TTFT and rate are off, as shares."""
    off = [a / b - 1 for a, b in zip(client, server)]
    cells = [f"{1e3 * client[0]:.1f}", f"{1e3 * server[0]:.1f}", f"{100 * off[0]:+.2f} %",
             f"{client[1]:.2f}", f"{server[1]:.2f}", f"{100 * off[1]:+.2f} %"]
    print(f"| {name} | " + " | ".join(cells) + " |")
    return off


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=pathlib.Path)
    parser.add_argument("result", type=pathlib.Path)
    parser.add_argument("--measure", nargs=2, type=pathlib.Path, metavar=("CONFIG", "MODEL"))
    parser.add_argument("--mlxbench", type=pathlib.Path, default=ROOT / "target/release/mlxbench")
    asked = parser.parse_args()
    if asked.measure:
        measure(*asked.measure, asked.log, asked.result, asked.mlxbench)
    both = list(compared(asked.log, asked.result))
    if not both:
        raise SystemExit("the result has no requests of a single client")
    print("| request | TTFT, ms | by the log | | t/s | by the log | |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    for number, sides in enumerate(both, 1):
        row(number, *sides)
    client, server = ([median(figure) for figure in zip(*side)] for side in zip(*both))
    off = row("median", client, server)
    sys.exit(any(abs(share) > LIMIT for share in off))


if __name__ == "__main__":
    main()
