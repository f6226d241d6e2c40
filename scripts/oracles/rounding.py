"""How far rounding alone takes transformers from the goldens of quantised weights: the independent measure of what
the adapters' tests allow in 16 bits and with activations of 8 bits.

Run by hand from the repository's root, as scripts/goldens/make.py is:

    python scripts/oracles/rounding.py

A line a golden: the largest difference of a logit in bf16, in f16, and in float64 with the inputs of all linear
layers rounded to 8 bits in blocks of 32, as candle's CPU kernels do (those of experts aren't rounded here).
"""

import pathlib
import sys

import numpy as np
import torch
from safetensors.numpy import load_file

ROOT = pathlib.Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts/goldens"))

import make  # noqa: E402

BLOCK = 32


@torch.no_grad()
def difference(model, golden):
    tokens = torch.tensor(golden["tokens"][None].astype(np.int64))
    logits = model(tokens, use_cache=False).logits[0, -len(golden["logits"]):]
    return np.abs(logits.double().numpy() - golden["logits"]).max()


def rounded_to_eight_bits(_module, inputs):
    (x,) = inputs
    blocks = x.unflatten(-1, (-1, BLOCK))
    scale = (blocks.abs().amax(-1, keepdim=True) / 127).clamp_min(torch.finfo(x.dtype).tiny)
    return ((blocks / scale).round() * scale).flatten(-2)


def main():
    for folder in make.folders(make.QUANTISED):
        for scheme in make.quantise.SCHEMES:
            golden = load_file(folder / f"{scheme}.safetensors")
            shorter = [difference(make.load(folder, scheme).to(dtype), golden) for dtype in (torch.bfloat16, torch.float16)]
            model = make.load(folder, scheme)
            for module in model.modules():
                if isinstance(module, torch.nn.Linear):
                    module.register_forward_pre_hook(rounded_to_eight_bits)
            print(f"{folder.name} {scheme}: bf16 {shorter[0]:.3f}, f16 {shorter[1]:.4f}, "
                  f"activations of 8 bits {difference(model, golden):.3f}")


if __name__ == "__main__":
    main()
