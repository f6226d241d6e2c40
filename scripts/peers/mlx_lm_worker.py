"""mlx-lm as a worker, through its own `generate_step`. Adapters are trained with its tuner (mlx_lm_trainer.py)."""

import ctypes
import importlib.metadata
import json

import mlx.core as mx
import mlx_lm.utils
import numpy
from mlx_lm.generate import generate_step, wired_limit
from mlx_lm.models.cache import make_prompt_cache
from mlx.utils import tree_map
from pathlib import Path

from lora import check_trainable
from mlx_lm_trainer import MlxLmTrainer
from protocol import Clock, Unsupported, chunks, columns, dtype_of, serve, skipped

DTYPES = {"f32": mx.float32, "bf16": mx.bfloat16, "f16": mx.float16}
# What the mlx adapter calls MLX's GPU.
GPU = "cuda" if mx.cuda.is_available() else "gpu"


def set_blas_threads(threads):
    """MLX's other work on the CPU is on one thread; without OpenBLAS that is all that is known."""
    try:
        loaded = ctypes.CDLL(None)
        if threads:
            loaded.openblas_set_num_threads(threads)
        return loaded.openblas_get_num_threads()
    except AttributeError:
        return 1


class Worker:
    model = None

    def hello(self):
        gpu = [GPU] if mx.is_available(mx.gpu) else []
        precisions = [{"precision": name} for name in DTYPES]
        return {
            "identity": {
                "backend": "mlx-lm",
                "framework": "mlx-lm",
                "version": importlib.metadata.version("mlx-lm"),
                "libraries": {"mlx": mx.__version__},
            },
            "devices": [{"device": name, "precisions": precisions} for name in [*gpu, "cpu"]],
        }

    def load(self, folder, placement, threads):
        self.model = None
        dtype = dtype_of(placement, DTYPES)
        mx.set_default_device({GPU: mx.gpu, "cpu": mx.cpu}[placement["device"]])
        model, _ = mlx_lm.utils.load_model(Path(folder), lazy=True)
        model.update(tree_map(lambda array: array.astype(dtype), model.parameters()))
        mx.eval(model.parameters())
        mx.synchronize()
        # generate_step's own stream is of the device that was the default at import, the GPU where there is one.
        self.stream = mx.new_thread_local_stream(mx.default_device())
        self.model, self.precision = model, placement["precision"]
        # generate_step evaluates caches alone, and layers that share one write none: see METHODOLOGY.md.
        self.config = json.loads((Path(folder) / "config.json").read_text())
        return set_blas_threads(threads), "own", skipped(self.config, "last position only, by its source (lazy evaluation)")

    def generate(self, request):
        prompt, context = request["prompt"], request.get("context")
        if len(prompt) != 1:
            raise Unsupported("mlx-lm's generate_step takes one row")
        if request["mode"] != "pipelined":
            raise Unsupported("mlx-lm's generate_step is always pipelined")
        mx.reset_peak_memory()
        cache = make_prompt_cache(self.model)
        if context:
            self.feed(context, cache, request["chunk"])
        mx.synchronize()
        tokens, token_ns = [], []

        def choose(logprobs):
            """The greedy token. The first is read here: generate_step queues a step ahead next."""
            token = mx.argmax(logprobs, axis=-1)
            if not tokens:
                tokens.append(token.item())
                token_ns.append(clock.now())
            return token

        # As in mlx-lm's own `stream_generate`.
        with wired_limit(self.model, [self.stream]):
            clock = Clock()
            steps = generate_step(
                mx.array(prompt[0]), self.model, max_tokens=request["new_tokens"], sampler=choose,
                prefill_step_size=request["chunk"], prompt_cache=cache,
                stream=self.stream)
            for index, (token, logprobs) in enumerate(steps):
                if index > 0:
                    tokens.append(int(token))
                    token_ns.append(clock.now())
        return {
            "tokens": [tokens],
            "token_ns": token_ns,
            "finite": bool(mx.isfinite(logprobs).all()),
            "form": "pipelined",
            "device_peak_bytes": mx.get_peak_memory(),
        }

    def feed(self, rows, cache, chunk):
        """Appends rows in chunks; the logits after the last one, of shape [rows, vocab]."""
        for part in chunks(rows, chunk):
            logits = self.model(mx.array(part), cache=cache)[:, -1]
            mx.eval(logits)
        return logits

    def score(self, request):
        cache = make_prompt_cache(self.model)
        if "context" in request:
            self.feed(request["context"], cache, request["chunk"])
        tokens, prompt = request["tokens"], request["prompt"]
        yield self.host(self.feed(columns(tokens, 0, prompt), cache, request["chunk"]))
        for at in range(prompt, len(tokens[0])):
            yield self.host(self.feed(columns(tokens, at, at + 1), cache, 1))

    def host(self, logits):
        return numpy.array(logits.astype(mx.float32))

    def trainer(self, lora, gradients):
        check_trainable(self.config, self.precision)
        return MlxLmTrainer(self.model, lora, gradients)


serve(Worker())
