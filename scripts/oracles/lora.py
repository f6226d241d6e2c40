"""Writes the goldens of LoRA steps: losses and gradient norms by PyTorch's autograd through Hugging Face transformers.

Run by hand, in a Python with torch, transformers, numpy and safetensors, from the repository's root:

    python scripts/oracles/lora.py [PREFIX...]

Beside each golden of crates/mlxbench-conformance/goldens it writes lora.json, and in goldens-quantised beside it
lora-q8.json and lora-q4.json, of the weights that the codes stand for: for each case the `lora` and the `rows`
of ids that were trained on, the `losses` of all steps and the `norms` of every matrix' gradient in each. The adapters
and AdamW are written out here and share no code with mlxbench nor with peft: initial values are SplitMix64's, as
`mlxbench_core::lora::Adapter::initial_a` says, and the update is that of `mlxbench_core::lora::Update`. All is
computed in float64 but for initial values, which are rounded to float32 (transformers' norms and rotations stay in
float32).
"""

import json
import math
import pathlib
import sys

import numpy as np
import torch

ROOT = pathlib.Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts/goldens"))

import make  # noqa: E402

STEPS = 5
MODULES = {"q_v": ["q_proj", "v_proj"],
           "all": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]}
# Rank, last layers, modules, rows; rows of different tokens, longer than any window.
CASES = [(2, 99, "q_v", 1), (2, 99, "q_v", 3), (3, 2, "all", 3)]
LENGTH = 19
SCALE, WEIGHT_DECAY, SEED = 4.0, 0.1, 7
# AdamW divides a gradient by its own size, and so what rounding makes of one that is nearly 0: at a high rate float32
# can part from float64 by more than adapters are allowed. The first rate is taken at which it stays within a third of
# that.
LEARNING_RATES, ROUNDING = (0.01, 0.003, 0.001), 3e-4
MASK = 2**64 - 1


def uniform(seed, count):
    """SplitMix64 from `seed` on, its upper 24 bits as numbers from -1 to 1."""
    numbers = []
    for index in range(1, count + 1):
        z = (seed + index * 0x9E3779B97F4A7C15) & MASK
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
        z ^= z >> 31
        numbers.append((z >> 40) / 2**23 - 1)
    return np.array(numbers, dtype=np.float32)


def initial_a(name, rank, columns):
    hashed = 0xCBF29CE484222325
    for byte in name.encode():
        hashed = (hashed ^ byte) * 0x100000001B3 & MASK
    bound = np.float32(columns**-0.5)
    values = uniform(SEED ^ hashed, rank * columns) * bound
    return torch.tensor(values.reshape(rank, columns))


class Adapted(torch.nn.Module):
    """A frozen projection with an adapter beside it."""

    def __init__(self, base, name, rank):
        super().__init__()
        self.base = base
        dtype = base.weight.dtype
        self.a = initial_a(name, rank, base.in_features).to(dtype).requires_grad_()
        self.b = torch.zeros(base.out_features, rank, dtype=dtype, requires_grad=True)

    def forward(self, x):
        return self.base(x) + SCALE * ((x @ self.a.T) @ self.b.T)


def adapt(model, rank, layers, modules):
    """Puts adapters on the last `layers` layers: their matrices, A then B, layer by layer in the order of MODULES."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    matrices, total = [], len(model.model.layers)
    for index in range(max(0, total - layers), total):
        layer = model.model.layers[index]
        for name in MODULES["all"]:
            owner = layer.mlp if name in ("gate_proj", "up_proj", "down_proj") else layer.self_attn
            base = getattr(owner, name, None)
            if name in MODULES[modules] and base is not None:
                adapted = Adapted(base, f"layers.{index}.{name}", rank)
                setattr(owner, name, adapted)
                matrices += [adapted.a, adapted.b]
    return matrices


def adamw(matrices, gradients, state, step, rate):
    """Loshchilov and Hutter's, with the bias corrected and eps after the root."""
    for index, (matrix, gradient) in enumerate(zip(matrices, gradients)):
        mean, square = state.get(index, (0, 0))
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        state[index] = mean, square
        corrected, root = mean / (1 - 0.9**step), (square / (1 - 0.999**step)).sqrt()
        matrix.data -= rate * (corrected / (root + 1e-8) + WEIGHT_DECAY * matrix.data)


def digits(number):
    """Eight, more than float32 has."""
    return float(f"{float(number):.8g}")


def train(model, case, ids, rate):
    """Losses of all steps, and the norms of all gradients in each."""
    vocab = model.config.vocab_size
    matrices, tokens, state, losses, norms = adapt(model, *case), torch.tensor(ids), {}, [], []
    for step in range(1, STEPS + 1):
        logits = model(tokens, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, vocab), tokens[:, 1:].reshape(-1))
        gradients = torch.autograd.grad(loss, matrices)
        losses.append(digits(loss.detach()))
        norms.append([digits(gradient.norm()) for gradient in gradients])
        adamw(matrices, gradients, state, step, rate)
    return losses, norms


def run(folder, scheme, rank, layers, modules, rows):
    def steps(dtype, rate):
        return train(make.load(folder, scheme).to(dtype), (rank, layers, modules), ids, rate)

    vocab = make.load(folder).config.vocab_size
    ids = [[(7 * i * i + (11 + 2 * row) * i + 2 + 5 * row) % vocab for i in range(LENGTH)] for row in range(rows)]
    for rate in LEARNING_RATES:
        losses, norms = steps(torch.float64, rate)
        rounded = np.concatenate(steps(torch.float32, rate)[1])
        expected = np.concatenate(norms)
        rounding = np.max(np.abs(rounded - expected) / np.maximum(expected, 1e-6))
        if rounding < ROUNDING:
            break
    else:
        raise SystemExit(f"{folder.name}: float32 is off by {rounding:.1e}: change the case")
    lora = {"rank": rank, "layers": layers, "modules": modules, "scale": SCALE, "learning_rate": rate,
            "weight_decay": WEIGHT_DECAY, "seed": SEED}
    assert losses[-1] < losses[0] and all(math.isfinite(loss) for loss in losses), losses
    print(f"{folder.name} {modules} {rows} rows at {rate}: losses {losses}, float32 off by {rounding:.0e}")
    return {"lora": lora, "rows": ids, "losses": losses, "norms": norms}


def write(path, scheme=None):
    config = json.loads((path.parent / "config.json").read_text())
    if config.get("text_config", config).get("enable_moe_block"):
        return  # the host picks experts: mlxbench doesn't train them
    cases = (run(path.parent, scheme, *case) for case in CASES)
    lines = ",\n".join(json.dumps(case) for case in cases)
    path.write_text(f"[\n{lines}\n]\n")


def main():
    for folder in make.folders(make.QUANTISED):
        for scheme in make.quantise.SCHEMES:
            write(folder / f"lora-{scheme}.json", scheme)
    for folder in make.folders(make.GOLDENS):
        if folder.name.endswith("-long"):
            continue  # as the short one
        write(folder / "lora.json")


if __name__ == "__main__":
    main()
