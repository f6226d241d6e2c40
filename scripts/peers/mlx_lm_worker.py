"""mlx-lm as a worker, through its own `generate_step`."""

import ctypes
import importlib.metadata

import mlx.core as mx
import mlx_lm.utils
import numpy
from mlx_lm.generate import generate_step
from mlx_lm.models.cache import make_prompt_cache
from mlx.utils import tree_map
from pathlib import Path

from protocol import Clock, Unsupported, chunks, dtype_of, serve

DTYPES = {"f32": mx.float32, "bf16": mx.bfloat16, "f16": mx.float16}


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
        gpu = ["gpu"] if mx.is_available(mx.gpu) else []
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
        mx.set_default_device(getattr(mx, placement["device"]))
        model, _ = mlx_lm.utils.load_model(Path(folder), lazy=True)
        model.update(tree_map(lambda array: array.astype(dtype), model.parameters()))
        mx.eval(model.parameters())
        mx.synchronize()
        self.model = model
        return set_blas_threads(threads)

    def generate(self, request):
        prompt, context = request["prompt"], request.get("context")
        if len(prompt) != 1:
            raise Unsupported("mlx-lm's generate_step takes one row")
        if request["mode"] != "pipelined":
            raise Unsupported("mlx-lm's generate_step is always pipelined")
        mx.reset_peak_memory()
        cache = make_prompt_cache(self.model)
        if context:
            self.feed(context[0], cache, request["chunk"])
        mx.synchronize()
        tokens, token_ns = [], []
        clock = Clock()
        steps = generate_step(
            mx.array(prompt[0]), self.model, max_tokens=request["new_tokens"],
            prefill_step_size=request["chunk"], prompt_cache=cache)
        for token, logprobs in steps:
            tokens.append(int(token))
            token_ns.append(clock.now())
        finite = bool(mx.isfinite(logprobs).all())
        return [tokens], token_ns, finite, mx.get_peak_memory()

    def feed(self, row, cache, chunk):
        """Appends a row in chunks; the logits after the last one, of shape [vocab]."""
        for part in chunks(row, chunk):
            logits = self.model(mx.array([part]), cache=cache)[0, -1]
            mx.eval(logits)
        return logits

    def score(self, tokens, prompt, chunk):
        cache = make_prompt_cache(self.model)
        yield numpy.array(self.feed(tokens[:prompt], cache, chunk).astype(mx.float32))
        for token in tokens[prompt:]:
            yield numpy.array(self.feed([token], cache, 1).astype(mx.float32))


serve(Worker())
