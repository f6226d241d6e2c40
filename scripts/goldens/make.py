"""Writes the goldens of tiny Gemmas with Hugging Face transformers, the independent reference.

Run by hand, in any Python with torch, transformers, numpy and safetensors, from the repository's
root, after changing a config.json under crates/mlxbench-conformance/goldens:

    python scripts/goldens/make.py [PREFIX...]

Each folder there holds a config.json; beside it this writes golden.safetensors. Each folder of
goldens-quantised beside it gets q8.safetensors and q4.safetensors: of the model whose matrices are the
dequantised codes of scripts/oracles/quantise.py, run in float64 (transformers' norms and rotations stay in
float32). A file has `tokens` (a
prompt and its greedy continuation), `prompt` (how many of them are the prompt) and `logits` (those
of the last positions, teacher-forced). No weights are kept: mlxbench_core::conformance and the
function `weight` below make the same ones from the tensors' names.
"""

import pathlib
import sys

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModelForCausalLM

ROOT = pathlib.Path(__file__).parents[2]
GOLDENS = ROOT / "crates/mlxbench-conformance/goldens"
QUANTISED = ROOT / "crates/mlxbench-conformance/goldens-quantised"
sys.path.append(str(ROOT / "scripts/oracles"))

import quantise  # noqa: E402

GENERATED = 8
ROWS = 40  # logits kept: enough for every short case, the end of the long one
SMALLEST_MARGIN = 1e-3  # between the two best logits, so that greedy tokens can't hang on rounding


def prompt_length(case):
    """The long case outgrows a windowed KV cache's spare room of 256 positions."""
    return 282 if case.endswith("-long") else 21


def weight(name, shape, mean=0):
    """SplitMix64 seeded by the name's FNV-1a hash, as f32 in [-1, 1), times a scale; vectors around `mean`."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    uniform = (z >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)
    offset = np.float32(0)
    if name == "model.embed_tokens.weight":
        scale = np.float32(0.25)
    elif len(shape) == 1:  # norms and biases, and what else Gemma 4 multiplies by
        scale, offset = np.float32(0.5), np.float32(mean)
    else:
        scale = np.sqrt(np.float32(6) / np.float32(shape[-1]))
    return torch.from_numpy((uniform * scale + offset).reshape(shape))


EIGHT_BITS = ("embed_tokens.weight", "lm_head.weight", "embed_tokens_per_layer.weight", "router.proj.weight")


def dequantised(name, matrix, scheme):
    """A matrix, or matrices below one another, by its codes; tables and routers are in q8 always."""
    scheme = "q8" if name.endswith(EIGHT_BITS) else scheme
    columns = matrix.shape[-1]
    codes, scale = quantise.SCHEMES[scheme](matrix.reshape(-1, columns).numpy())
    block = columns if scheme == "q8" else 64
    return torch.from_numpy(codes * np.repeat(scale, block, 1)[:, :columns]).reshape(matrix.shape)


def tensors(model):
    """Parameters, tied ones once, and the numbers that Gemma 4 multiplies a layer by."""
    yield from model.named_parameters()
    yield from ((name, buffer) for name, buffer in model.named_buffers() if name.endswith("layer_scalar"))


def load(folder, scheme=None):
    config = AutoConfig.from_pretrained(folder).get_text_config()
    mean = 1 if config.model_type.startswith("gemma4") else 0  # its norms have no offset
    model = AutoModelForCausalLM.from_config(
        config, attn_implementation="eager", experts_implementation="eager",
        dtype=torch.float64 if scheme else torch.float32
    )
    with torch.no_grad():
        for name, parameter in tensors(model):
            value = weight(name, tuple(parameter.shape), mean)
            if scheme and value.ndim > 1:
                value = dequantised(name, value, scheme)
            parameter.copy_(value)
    return model.eval()


@torch.no_grad()
def golden(model, prompt):
    tokens = list(prompt)
    for _ in range(GENERATED):
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0]
        best = logits[-1].topk(2)
        margin = float(best.values[0] - best.values[1])
        assert margin > SMALLEST_MARGIN, f"the best token leads by {margin} only: change the case"
        tokens.append(int(best.indices[0]))
    logits = model(torch.tensor([tokens]), use_cache=False).logits[0]
    return tokens, logits[-ROWS:].numpy()


def write(model, path):
    length, vocab = prompt_length(path.parent.name), model.config.vocab_size
    prompt = [(7 * i * i + 11 * i + 2) % vocab for i in range(length)]
    tokens, logits = golden(model, prompt)
    tensors = {
        "tokens": np.array(tokens, dtype=np.uint32),
        "prompt": np.array([length], dtype=np.uint32),
        "logits": np.ascontiguousarray(logits, dtype=np.float32),
    }
    save_file(tensors, path)
    print(f"{path.parent.name} {path.stem}: greedy {tokens[length:]}, logits within {abs(logits).max():.2f}")


def folders(root):
    """Those whose names begin with one of the arguments; all without any."""
    wanted = tuple(sys.argv[1:]) or ("",)
    return sorted(path.parent for path in root.glob("*/config.json") if path.parent.name.startswith(wanted))


def main():
    for folder in folders(GOLDENS):
        write(load(folder), folder / "golden.safetensors")
    for folder in folders(QUANTISED):
        for scheme in quantise.SCHEMES:
            write(load(folder, scheme), folder / f"{scheme}.safetensors")


if __name__ == "__main__":
    main()
