"""Hugging Face transformers as a worker: its model classes under a greedy loop without the overhead
of `generate`, which is the best case for the library.

A device named `cuda+graph` takes what the library's documentation recommends for speed: a static cache,
and steps that torch.compile makes, replayed as CUDA graphs. Prompts run uncompiled, as there. A step is
compiled for each number of rows and each capacity of the cache, and graphs are recorded at first use: in
Gemma 3 for every position below the window, twice. Three warm-ups do all that.

Adapters are trained with peft (peft_trainer.py).
"""

import importlib.metadata

import numpy
import torch
import transformers

from lora import check_trainable
from peft_trainer import PeftTrainer
from protocol import Clock, Unsupported, columns, dtype_of, serve, skipped

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
GRAPH = "+graph"
# Capacities of static caches are multiples of this, so that tests of nearly equal length share them.
CAPACITY_STEP = 256


class Eager:
    """A growing cache, and the model as it is."""

    def __init__(self, model):
        self.model = model

    def reset(self, batch, capacity):
        self.cache = transformers.DynamicCache(config=self.model.config)

    @torch.inference_mode()
    def append(self, ids):
        """The last position's logits and their argmax, of shapes [batch, vocab] and [batch]."""
        out = self.model(input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        logits = out.logits[:, -1]
        return logits, logits.argmax(-1)

    step = append


class Graph:
    """A static cache, and compiled steps. What `step` gives is valid until the next one, but for tokens."""

    def __init__(self, model):
        self.model = model
        self.caches = {}
        torch._dynamo.config.recompile_limit = 256
        self.compiled = torch.compile(self.decode, mode="reduce-overhead", fullgraph=True)

    def reset(self, batch, capacity):
        capacity = -(-capacity // CAPACITY_STEP) * CAPACITY_STEP
        self.position = 0
        if (batch, capacity) in self.caches:
            self.cache = self.caches[batch, capacity]
            self.cache.reset()
            return
        self.cache = transformers.StaticCache(config=self.model.config, max_cache_len=capacity)
        self.caches[batch, capacity] = self.cache

    def decode(self, ids, positions, cache):
        out = self.model(
            input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits = out.logits[:, -1]
        return logits, logits.argmax(-1)

    @torch.no_grad()
    def append(self, ids):
        end = self.position + ids.shape[1]
        self.positions = torch.arange(self.position, end, device=ids.device)[None]
        self.position = end
        result = self.decode(ids, self.positions, self.cache)
        for layer in self.cache.layers:
            # A step for this capacity, not one for any.
            torch._dynamo.mark_static(layer.keys)
            torch._dynamo.mark_static(layer.values)
        self.positions = self.positions[:, -1:]
        return result

    @torch.no_grad()
    def step(self, ids):
        self.position += 1
        self.positions = self.positions + 1
        torch.compiler.cudagraph_mark_step_begin()
        logits, tokens = self.compiled(ids, self.positions, self.cache)
        return logits, tokens.clone()


class Worker:
    model = None

    def hello(self):
        names = [f"cuda:{index}" if index else "cuda" for index in range(torch.cuda.device_count())]
        if torch.backends.mps.is_available():
            names.append("mps")
        names += [name + GRAPH for name in names if name.startswith("cuda")]
        precisions = [{"precision": name} for name in DTYPES]
        return {
            "identity": {
                "backend": "transformers",
                "framework": "transformers",
                "version": transformers.__version__,
                "libraries": {"torch": torch.__version__, **peft_version()},
            },
            "devices": [{"device": name, "precisions": precisions} for name in [*names, "cpu"]],
        }

    def load(self, folder, placement, threads):
        self.model = None
        if threads:
            torch.set_num_threads(threads)
        dtype = dtype_of(placement, DTYPES)
        self.precision, name = placement["precision"], placement["device"]
        self.device = torch.device(name.removesuffix(GRAPH))
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        model = model.eval().to(self.device)
        self.model = Graph(model) if name.endswith(GRAPH) else Eager(model)
        self.synchronize()
        # On the CPU PyTorch works while it is called; MPS has one stream.
        self.reads = {"cpu": "immediate", "cuda": "own"}.get(self.device.type, "in_order")
        if self.reads == "own":
            self.way_out = torch.cuda.Stream(self.device)
        # logits_to_keep reaches down to them.
        kernels = skipped(model.config.to_dict(), "last position of each chunk only")
        return torch.get_num_threads(), self.reads, kernels

    def synchronize(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def feed(self, rows, chunk):
        """Appends rows in chunks; what `append` gives after the last one."""
        ids = torch.tensor(rows, device=self.device)
        for part in ids.split(chunk, dim=1):
            output = self.model.append(part)
        return output

    def start(self, request, rows, length):
        """An empty cache for `length` tokens beside those of the context, and the context in it."""
        context = request.get("context")
        self.model.reset(rows, length + (len(context[0]) if context else 0))
        if context:
            self.feed(context, request["chunk"])

    def reader(self, tokens):
        """A function that waits for the tokens and gives their ids."""
        if self.reads != "own":
            return tokens.tolist
        # A copy on the stream of the steps would wait for the step that is queued ahead.
        self.way_out.wait_stream(torch.cuda.current_stream(self.device))
        host = torch.empty(tokens.shape, dtype=tokens.dtype, pin_memory=True)
        with torch.cuda.stream(self.way_out):
            host.copy_(tokens, non_blocking=True)
            done = self.way_out.record_event()

        def read():
            done.synchronize()
            return host.tolist()

        return read

    def generate(self, request):
        prompt, count = request["prompt"], request["new_tokens"]
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self.start(request, len(prompt), len(prompt[0]) + count)
        self.synchronize()
        form = request["mode"] if self.reads == "own" else "synchronous"
        ids, token_ns = [], []

        def step(tokens):
            logits, tokens = self.model.step(tokens[:, None])
            return logits, tokens, self.reader(tokens)

        clock = Clock()
        logits, tokens = self.feed(prompt, request["chunk"])
        current = (logits, tokens, self.reader(tokens))
        for index in range(count):
            more = index + 1 < count
            # The first token is read before any step is queued.
            ahead = step(current[1]) if form == "pipelined" and more and index > 0 else None
            ids.append(current[2]())
            token_ns.append(clock.now())
            if more:
                current = ahead or step(current[1])
        reply = {
            "tokens": [list(row) for row in zip(*ids)],
            "token_ns": token_ns,
            "finite": bool(current[0].isfinite().all()),
            "form": form,
        }
        if self.device.type == "cuda":
            reply["device_peak_bytes"] = torch.cuda.max_memory_allocated(self.device)
        return reply

    def score(self, request):
        tokens, prompt = request["tokens"], request["prompt"]
        self.start(request, len(tokens), len(tokens[0]))
        yield self.host(self.feed(columns(tokens, 0, prompt), request["chunk"])[0])
        for at in range(prompt, len(tokens[0])):
            ids = torch.tensor(columns(tokens, at, at + 1), device=self.device)
            yield self.host(self.model.step(ids)[0])

    def host(self, logits):
        return logits.float().cpu().numpy().astype(numpy.float32)

    def trainer(self, lora, gradients):
        if isinstance(self.model, Graph):
            raise Unsupported(f"{GRAPH} is a way to generate: train on {self.device}")
        check_trainable(self.model.model.config.to_dict(), self.precision)
        return PeftTrainer(self.model.model, lora, self.device)


def peft_version():
    """None where it isn't installed: only training needs it."""
    try:
        return {"peft": importlib.metadata.version("peft")}
    except importlib.metadata.PackageNotFoundError:
        return {}


serve(Worker())
