"""LoRA by peft on a transformers model: the loss that the model class gives for `labels`, and the AdamW that
transformers' Trainer takes by default, without the Trainer's own loop."""

import re

import torch

from lora import BETAS, EPS, adapters, initial_a
from protocol import Unsupported


def import_peft():
    """Here and not above: generations need none, and an interpreter of the user's may lack it."""
    try:
        import peft
    except ImportError as error:
        raise Unsupported(f"{error}: transformers trains adapters with peft") from error
    return peft


class PeftTrainer:
    def __init__(self, model, lora, device):
        self.peft = import_peft()
        self.model, self.lora, self.device = model, lora, device
        self.adapted = None

    def start(self):
        model, lora, device = self.model, self.lora, self.device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        paths = {module: path for path, module in model.named_modules()}
        found = list(adapters(lora, decoder_layers(model)))
        names = [f"{paths[owner]}.{projection}" for _, owner, projection in found]
        # peft keeps adapters in f32 beside weights in 16 bits by default.
        config = self.peft.LoraConfig(
            r=lora["rank"], lora_alpha=lora["scale"] * lora["rank"], lora_dropout=0.0, bias="none",
            target_modules="|".join(map(re.escape, names)))
        self.adapted = self.peft.get_peft_model(model, config)
        if lora.get("gradient_checkpointing"):
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            self.set_training(True)
        self.matrices = []
        for name, owner, projection in found:
            layer = getattr(owner, projection)
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            with torch.no_grad():
                a.copy_(torch.from_numpy(initial_a(lora, name, a.shape[1])))
                b.zero_()
            self.matrices += [a, b]
        self.optimizer = torch.optim.AdamW(
            self.matrices, lr=lora["learning_rate"], betas=BETAS, eps=EPS, weight_decay=lora["weight_decay"],
            fused=True)
        self.synchronize()

    def set_training(self, mode):
        """Of the layers alone and not of their parts: transformers recomputes layers in training only, in which parts
        would have dropout."""
        for layer in decoder_layers(self.model):
            layer.training = mode

    def synchronize(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def step(self, rows):
        ids = torch.tensor(rows, device=self.device)
        self.optimizer.zero_grad()
        # In evaluation mode, as it was loaded: no dropout, which the protocol has none of.
        loss = self.adapted(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        self.optimizer.step()
        self.synchronize()
        return loss.item()

    def norms(self):
        return [matrix.grad.norm().item() for matrix in self.matrices]

    def peak_bytes(self):
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None

    def close(self):
        if self.adapted is not None:
            self.adapted.unload()
        if self.lora.get("gradient_checkpointing"):
            self.model.gradient_checkpointing_disable()
            self.set_training(False)


def decoder_layers(model):
    """The layers of the text model, of a model with images, too."""
    return model.get_decoder().layers
