"""Writes what NumPy makes of some matrices as codes and scales, the independent reference of
mlxbench_core::quantise.

Run by hand, in any Python with numpy, from the repository's root:

    python scripts/oracles/quantise.py

It writes crates/mlxbench-core/tests/quantised.json: for each matrix its bits as f32, and for each way of
quantising the codes and the bits of the scales as bf16. The rules are written out from the contract
(PROTOCOL.md): symmetric, a scale a row in q8 and one for each 64 weights of a row in q4, scales that bf16
and f16 both hold, codes rounded to even. Scales are rounded by arithmetic on their bits here, and blocks are
padded, so that no line of it is like the Rust.
"""

import json
import pathlib

import numpy as np

TARGET = pathlib.Path("crates/mlxbench-core/tests/quantised.json")


def to_bf16(x):
    """The nearest bf16, ties to even, as f32."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32)


def scales(raw):
    return to_bf16(to_bf16(np.clip(raw, -65280, 65280)).astype(np.float16).astype(np.float32))


def quantise(w, block, low, high, raw_scale):
    rows, columns = w.shape
    blocks = -(-columns // block)
    padded = np.zeros((rows, blocks * block), np.float32)
    padded[:, :columns] = w
    padded = padded.reshape(rows, blocks, block)
    scale = scales(raw_scale(padded).astype(np.float32))
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.rint(padded / scale[..., None])
    codes = np.where(scale[..., None] == 0, 0, np.clip(codes, low, high))
    return codes.reshape(rows, -1)[:, :columns].astype(int), scale


def q8(w):
    return quantise(w, w.shape[1], -127, 127, lambda b: np.abs(b).max(-1) / np.float32(127))


def q4(w):
    def raw(b):
        at = np.abs(b).argmax(-1)
        return np.take_along_axis(b, at[..., None], -1)[..., 0] / np.float32(-8)
    return quantise(w, 64, -8, 7, raw)


SCHEMES = {"q8": q8, "q4": q4}


def matrices():
    random = np.random.default_rng(17)
    normal = lambda *shape: random.standard_normal(shape).astype(np.float32)
    outliers = normal(4, 192) * np.float32(0.02)
    outliers[0, 5], outliers[1, 191], outliers[2, 64] = 40, -3, 1e5
    ties = np.tile(np.arange(-16, 16, dtype=np.float32) / 2, (2, 4))
    ties[:, 0] = [8, -8]
    yield "normal", normal(5, 128) * np.float32(0.03)
    yield "one row", normal(1, 64)
    yield "one column", normal(7, 1)
    yield "a short last block", normal(3, 130)
    yield "less than a block", normal(3, 33)
    yield "zeros", np.zeros((2, 128), np.float32)
    yield "a block of zeros", np.concatenate([np.zeros((2, 64), np.float32), normal(2, 64)], 1)
    yield "outliers", outliers
    yield "ties", ties
    yield "equal magnitudes", np.where(normal(2, 128) > 0, 1, -1).astype(np.float32)
    yield "tiny", normal(3, 128) * np.float32(1e-6)
    yield "vanishing", normal(2, 64) * np.float32(1e-30)
    yield "subnormal scales", normal(3, 128) * np.float32(3e-5)
    yield "huge", normal(2, 128) * np.float32(1e20)
    for size in range(-12, 6, 2):
        yield f"10^{size}", normal(2, 100) * np.float32(10.0 ** size)


def main():
    cases = []
    for name, w in matrices():
        case = {"name": name, "columns": w.shape[1], "weights": w.view(np.uint32).ravel().tolist()}
        for scheme, quantised in SCHEMES.items():
            codes, scale = quantised(w)
            bits = (scale.astype(np.float32).view(np.uint32) >> 16).ravel().tolist()
            case[scheme] = {"codes": codes.ravel().tolist(), "scales": bits}
        cases.append(case)
    TARGET.write_text(json.dumps(cases, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
