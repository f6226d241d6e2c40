"""Hugging Face transformers as a worker: its model classes under a greedy loop without the overhead
of `generate`, which is the best case for the library."""

import numpy
import torch
import transformers

from protocol import Clock, Unsupported, columns, dtype_of, serve

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


class Worker:
    model = None

    def hello(self):
        names = [f"cuda:{index}" if index else "cuda" for index in range(torch.cuda.device_count())]
        if torch.backends.mps.is_available():
            names.append("mps")
        precisions = [{"precision": name} for name in DTYPES]
        return {
            "identity": {
                "backend": "transformers",
                "framework": "transformers",
                "version": transformers.__version__,
                "libraries": {"torch": torch.__version__},
            },
            "devices": [{"device": name, "precisions": precisions} for name in [*names, "cpu"]],
        }

    def load(self, folder, placement, threads):
        self.model = None
        if threads:
            torch.set_num_threads(threads)
        dtype = dtype_of(placement, DTYPES)
        self.device = torch.device(placement["device"])
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, device_map=placement["device"])
        self.model = model.eval()
        self.synchronize()
        # On the CPU PyTorch works while it is called; MPS has one stream.
        self.reads = {"cpu": "immediate", "cuda": "own"}.get(self.device.type, "in_order")
        if self.reads == "own":
            self.way_out = torch.cuda.Stream(self.device)
        return torch.get_num_threads(), self.reads

    def synchronize(self):
        if self.device.type != "cpu":
            getattr(torch, self.device.type).synchronize()

    def forward(self, ids, cache):
        """The last position's logits, of shape [batch, vocab]."""
        out = self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1]

    def feed(self, rows, cache, chunk):
        """Appends rows in chunks; the logits after the last one."""
        ids = torch.tensor(rows, device=self.device)
        for part in ids.split(chunk, dim=1):
            logits = self.forward(part, cache)
        return logits

    def choose(self, logits):
        """The greedy tokens on the device, and a function that waits for them and gives their ids."""
        tokens = logits.argmax(-1)
        if self.reads != "own":
            return tokens, tokens.tolist
        # A copy on the stream of the steps would wait for the step that is queued ahead.
        self.way_out.wait_stream(torch.cuda.current_stream(self.device))
        host = torch.empty(tokens.shape, dtype=tokens.dtype, pin_memory=True)
        with torch.cuda.stream(self.way_out):
            host.copy_(tokens, non_blocking=True)
            done = self.way_out.record_event()

        def read():
            done.synchronize()
            return host.tolist()

        return tokens, read

    @torch.inference_mode()
    def generate(self, request):
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        cache = transformers.DynamicCache(config=self.model.config)
        if "context" in request:
            self.feed(request["context"], cache, request["chunk"])
        self.synchronize()
        form = request["mode"] if self.reads == "own" else "synchronous"
        count, ids, token_ns = request["new_tokens"], [], []

        def step(tokens):
            logits = self.forward(tokens[:, None], cache)
            return logits, *self.choose(logits)

        clock = Clock()
        logits = self.feed(request["prompt"], cache, request["chunk"])
        current = (logits, *self.choose(logits))
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

    @torch.inference_mode()
    def score(self, request):
        cache = transformers.DynamicCache(config=self.model.config)
        if "context" in request:
            self.feed(request["context"], cache, request["chunk"])
        tokens, prompt = request["tokens"], request["prompt"]
        yield self.host(self.feed(columns(tokens, 0, prompt), cache, request["chunk"]))
        for at in range(prompt, len(tokens[0])):
            yield self.host(self.feed(columns(tokens, at, at + 1), cache, 1))

    def host(self, logits):
        return logits.float().cpu().numpy().astype(numpy.float32)


serve(Worker())
