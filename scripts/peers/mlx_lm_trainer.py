"""LoRA by mlx-lm's own tuner: its layers, its loss, and the compiled step of its `train`, with MLX's AdamW."""

from functools import partial

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers
import mlx.utils
from mlx_lm.tuner.trainer import default_loss, grad_checkpoint
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import maybe_set_recommended_wired_limit

from lora import BETAS, EPS, MODULES, adapters, initial_a, owner_of


class MlxLmTrainer:
    def __init__(self, model, lora, gradients):
        self.model, self.lora, self.gradients_wanted = model, lora, gradients
        self.found = list(adapters(lora, model.layers))
        self.wired = None
        # What `grad_checkpoint` replaces, for all layers of the class.
        self.layer = type(model.layers[0])
        self.plain_call = self.layer.__call__

    def start(self):
        mx.reset_peak_memory()
        model, lora = self.model, self.lora
        model.freeze()
        linear_to_lora_layers(model, lora["layers"], {
            "rank": lora["rank"], "scale": lora["scale"], "dropout": 0.0,
            "keys": {f"{owner_of(name)}.{name}" for name in MODULES[lora["modules"]]}})
        for name, owner, projection in self.found:
            layer = owner[projection]
            layer.lora_a = mx.array(initial_a(lora, name, layer.lora_a.shape[0])).T
        if lora.get("gradient_checkpointing"):
            grad_checkpoint(model.layers[0])
        # mlx_lm.lora's default leaves the correction of the bias off.
        self.optimizer = mlx.optimizers.AdamW(
            lora["learning_rate"], betas=list(BETAS), eps=EPS, weight_decay=lora["weight_decay"], bias_correction=True)
        self.wired = maybe_set_recommended_wired_limit()
        model.train()
        mx.eval(model.parameters())
        self.take = self.compiled()

    def compiled(self):
        """The step of mlx_lm.tuner.trainer.train, without its sums over batches and machines; where `gradients` are
        wanted it gives them, too."""
        loss_and_gradients = nn.value_and_grad(self.model, default_loss)
        self.state = [self.model.state, self.optimizer.state, mx.random.state]

        @partial(mx.compile, inputs=self.state, outputs=self.state)
        def step(batch, lengths):
            (loss, _), grad = loss_and_gradients(self.model, batch, lengths)
            self.optimizer.update(self.model, grad)
            return loss, grad if self.gradients_wanted else None

        return step

    def step(self, rows):
        lengths = mx.array([[0, len(row)] for row in rows])
        loss, self.gradients = self.take(mx.array(rows), lengths)
        mx.eval(self.state, loss, self.gradients)
        # As `train` does after each step, unless told to keep more.
        mx.clear_cache()
        return loss.item()

    def norms(self):
        """Of the gradients of each adapter, which lie in a tree of the model's form."""
        flat = dict(mlx.utils.tree_flatten(self.gradients))
        paths = {id(module): path for path, module in self.model.named_modules()}
        for _, owner, projection in self.found:
            path = paths[id(owner[projection])]
            for matrix in ["lora_a", "lora_b"]:
                yield mx.linalg.norm(flat[f"{path}.{matrix}"]).item()

    def peak_bytes(self):
        return mx.get_peak_memory()

    def close(self):
        self.layer.__call__ = self.plain_call
        for _, owner, projection in self.found:
            owner[projection] = getattr(owner[projection], "linear", owner[projection])
        self.model.eval()
        if self.wired is not None:
            mx.set_wired_limit(self.wired)
