"""Hugging Face transformers as a worker: its model classes under a greedy loop without the overhead
of `generate`, which is the best case for the library."""

import numpy
import torch
import transformers

from protocol import Clock, Unsupported, dtype_of, serve

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
        return torch.get_num_threads()

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

    @torch.inference_mode()
    def generate(self, request):
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        cache = transformers.DynamicCache(config=self.model.config)
        if "context" in request:
            self.feed(request["context"], cache, request["chunk"])
        self.synchronize()
        # On the CPU PyTorch works while it is called: there is nothing to be ahead of.
        ahead = request["mode"] == "pipelined" and self.device.type != "cpu"
        columns, token_ns = [], []
        clock = Clock()
        logits = self.feed(request["prompt"], cache, request["chunk"])
        tokens = logits.argmax(-1)
        for index in range(request["new_tokens"]):
            more = index + 1 < request["new_tokens"]
            if more and ahead:
                logits = self.forward(tokens[:, None], cache)
            columns.append(tokens.tolist())
            token_ns.append(clock.now())
            if more and not ahead:
                logits = self.forward(tokens[:, None], cache)
            tokens = logits.argmax(-1)
        peak = None
        if self.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.device)
        return [list(row) for row in zip(*columns)], token_ns, bool(logits.isfinite().all()), peak

    @torch.inference_mode()
    def score(self, tokens, prompt, chunk):
        cache = transformers.DynamicCache(config=self.model.config)
        logits = self.feed([tokens[:prompt]], cache, chunk)
        yield self.row(logits)
        for token in tokens[prompt:]:
            yield self.row(self.feed([[token]], cache, 1))

    def row(self, logits):
        return logits[0].float().cpu().numpy().astype(numpy.float32)


serve(Worker())
