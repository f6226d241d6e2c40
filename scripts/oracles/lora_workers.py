"""Holds workers' LoRA steps against the goldens of lora.py: those of programs that are no part of our tests, as peers.

From the repository's root, in a Python with torch and transformers (scripts/peers/transformers makes one):

    .native/peers/transformers/bin/python scripts/oracles/lora_workers.py WORKER...

A worker is a program that speaks the protocol, such as scripts/peers/mlx-lm. Each trains on the CPU in f32 what a
golden says: without gradient checkpointing, with it, and without it again. The line of a golden has the largest
differences of losses and of gradients' norms, as shares. Before the first update adapters do nothing: where the first
loss is off, the model is another, whatever the training. Ends with 1 where a worker that loads the model and trains is
further off than our adapters may be.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[2]
LOSS, NORM = 1e-4, 1e-3


class Worker:
    """A program that speaks the protocol, on the CPU in f32."""

    def __init__(self, command):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([command], text=True, **pipes)
        self.identity = self.ask({"type": "hello", "protocol": 3})["identity"]

    def ask(self, request):
        """The reply; an error is one, too."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[0]} ended at a request {request['type']}")
        return json.loads(line)

    def load(self, folder):
        return self.ask({"type": "load", "model": str(folder), "placement": {"device": "cpu", "precision": "f32"}})

    def train(self, lora, batches, gradients=False):
        return self.ask({"type": "train", "lora": lora, "batches": batches, "gradients": gradients})

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def off(got, expected):
    """The largest difference as a share. A number that is 0 has to be 0."""
    shares = [abs(a - b) / max(abs(b), 1e-6) for a, b in zip(got, expected, strict=True)]
    return max(shares)


def flat(lists):
    return [number for numbers in lists for number in numbers]


def compare(worker, case, checkpointing):
    """How far losses and norms are off, or the worker's own words."""
    lora = case["lora"] | ({"gradient_checkpointing": True} if checkpointing else {})
    reply = worker.train(lora, [case["rows"]] * len(case["losses"]), gradients=True)
    if reply["type"] == "error":
        return f"{reply['kind']}: {reply['message']}", reply["kind"] == "unsupported"
    first, loss = (off(reply["losses"][:count], case["losses"][:count]) for count in (1, None))
    norm = off(flat(reply["gradient_norms"]), flat(case["norms"]))
    words = (f"{lora['modules']}, {len(case['rows'])} rows{', checkpointing' * checkpointing}: first loss off by {first:.0e}, "
             f"losses by {loss:.0e}, norms by {norm:.0e}")
    return words, loss <= LOSS and norm <= NORM


def main():
    sys.path.append(str(ROOT / "scripts/goldens"))
    import make
    import transformers

    transformers.utils.logging.disable_progress_bar()
    workers, bad = [Worker(command) for command in sys.argv[1:]], 0
    for path in sorted(make.GOLDENS.glob("*/lora.json")):
        with tempfile.TemporaryDirectory() as folder:
            make.load(path.parent).save_pretrained(folder)
            # As checkpoints have it: transformers writes newer keys, which others don't know.
            shutil.copy(path.parent / "config.json", folder)
            for worker in workers:
                loaded = worker.load(folder)
                if loaded["type"] == "error":
                    outcomes = [(f"doesn't load it: {loaded['message'].splitlines()[0]}", True)]
                else:
                    outcomes = [compare(worker, case, checkpointing) for case in json.loads(path.read_text())
                                for checkpointing in (False, True, False)]
                for words, is_right in outcomes:
                    bad += not is_right
                    print(f"{path.parent.name} {worker.identity['backend']} {words}{'' if is_right else '  WRONG'}",
                          flush=True)
    for worker in workers:
        worker.close()
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
