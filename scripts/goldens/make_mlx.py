"""Writes tiny Gemmas that mlx-lm packed, with mlx-lm's own logits.

Run by hand, in a Python with mlx-lm and numpy (scripts/peers makes one), from the repository's root:

    python scripts/goldens/make_mlx.py [PREFIX...]

Each folder of crates/mlxbench-conformance/goldens-mlx gets config.json and model.safetensors as
`mlx_lm.convert` writes them, mostly with `-q`, from random weights in bf16, and golden.safetensors as that of make.py. The
logits are computed in f32: with the scales as stored, widened.
"""

import json
import pathlib
import shutil
import sys

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.utils import _get_classes, load_model, quantize_model, save_config, save_model

ROOT = pathlib.Path(__file__).parents[2] / "crates/mlxbench-conformance/goldens-mlx"
PROMPT, GENERATED = 21, 8
SMALLEST_MARGIN = 1e-3
SHAPES = {
    "vocab_size": 128, "hidden_size": 256, "intermediate_size": 192, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64, "max_position_embeddings": 512,
}
GEMMA3 = {
    "model_type": "gemma3_text", "query_pre_attn_scalar": 16, "sliding_window": 4,
    "sliding_window_pattern": 2, "rope_theta": 900.0, "rope_local_base_freq": 40.0,
}


def mixed(path, module):
    """As mlx-lm's mixed recipes: more bits for some, none for others."""
    if path.endswith("down_proj"):
        return {"group_size": 32, "bits": 8}
    return not path.endswith("layers.1.self_attn.k_proj")


# As mlx-community's 26B-A4B: a part of a multimodal model, and experts in stacks called `switch_glu`.
GEMMA4 = {
    "model_type": "gemma4", "vocab_size": SHAPES["vocab_size"], "tie_word_embeddings": True,
    "text_config": {
        **SHAPES, "model_type": "gemma4_text", "hidden_size": 128, "intermediate_size": 64, "global_head_dim": 128,
        "num_global_key_value_heads": 1, "attention_k_eq_v": True, "num_kv_shared_layers": 0,
        "hidden_size_per_layer_input": 0, "use_double_wide_mlp": False, "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention"], "final_logit_softcapping": 9.0,
        "enable_moe_block": True, "num_experts": 5, "top_k_experts": 2, "moe_intermediate_size": 64,
        "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
        "rope_parameters": {
            "full_attention": {"rope_type": "proportional", "rope_theta": 900.0, "partial_rotary_factor": 0.25},
            "sliding_attention": {"rope_type": "default", "rope_theta": 40.0},
        },
    },
}
# Rows that needn't be whole groups.
SMALL = {
    "hidden_size": 48, "intermediate_size": 32, "head_dim": 16, "global_head_dim": 32, "moe_intermediate_size": 16,
}
CASES = {
    "gemma3-4bit-mixed": (GEMMA3, 64, 4, mixed),
    "gemma3-5bit-g64": (GEMMA3, 64, 5, None),
    # Rows of 192 aren't divided by 128: mlx-lm leaves them as they are.
    "gemma2-3bit-g128": ({
        "model_type": "gemma2", "query_pre_attn_scalar": 16, "sliding_window": 4096,
        "attn_logit_softcapping": 20.0, "final_logit_softcapping": 30.0, "rope_theta": 300.0,
    }, 128, 3, None),
    "gemma1-6bit-g32": ({"model_type": "gemma", "rope_theta": 500.0}, 32, 6, None),
    # mlx-lm's own predicate has routers in 8 bits.
    "gemma4-4bit-experts": (GEMMA4, 64, 4, None),
    "gemma4-plain-experts": ({**GEMMA4, "text_config": {**GEMMA4["text_config"], **SMALL}}, None, None, None),
}


def random_weights(model):
    random = np.random.default_rng(5)

    def value(name, old):
        scale = 0.5 if old.ndim == 1 else 0.06 if "embed" in name else (2 / old.shape[-1]) ** 0.5
        # Gemma 4's norms multiply by their weight alone.
        mean = 1 if old.ndim == 1 and model.model_type == "gemma4" else 0
        return mx.array(random.uniform(mean - scale, mean + scale, old.shape).astype(np.float32)).astype(mx.bfloat16)

    weights = [(name, value(name, old)) for name, old in tree_flatten(model.parameters())]
    model.update(tree_unflatten(weights))


def gather_qmm(*args, global_scale=None, **kwargs):
    """MLX's own: mlx-lm 0.32.2 hands it an argument that MLX 0.32.2 doesn't know, `None` for affine codes."""
    assert global_scale is None
    return GATHER_QMM(*args, **kwargs)


GATHER_QMM, mx.gather_qmm = mx.gather_qmm, gather_qmm


def main():
    wanted = tuple(sys.argv[1:]) or ("",)
    for name, (more, group_size, bits, predicate) in CASES.items():
        if not name.startswith(wanted):
            continue
        folder = ROOT / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        config = more if "text_config" in more else {
            **SHAPES, **more, "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh",
            "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": True}
        classes = _get_classes(config)
        model = classes[0](classes[1].from_dict(config))
        if hasattr(model, "sanitize"):
            model.sanitize({})
        random_weights(model)
        packed = config
        if bits:
            model, packed = quantize_model(model, config, group_size, bits, quant_predicate=predicate)
        save_model(folder, model)
        (folder / "model.safetensors.index.json").unlink(missing_ok=True)
        save_config(packed, folder / "config.json")
        model, _ = load_model(folder)
        model.set_dtype(mx.float32)
        tokens = [(7 * i * i + 11 * i + 2) % SHAPES["vocab_size"] for i in range(PROMPT)]
        for _ in range(GENERATED):
            logits = model(mx.array([tokens]))[0, -1]
            best = np.sort(np.array(logits))[-2:]
            assert best[1] - best[0] > SMALLEST_MARGIN, "change the case"
            tokens.append(int(mx.argmax(logits)))
        logits = model(mx.array([tokens]))[0]
        mx.save_safetensors(str(folder / "golden.safetensors"), {
            "tokens": mx.array(tokens, mx.uint32), "prompt": mx.array([PROMPT], mx.uint32),
            "logits": logits.astype(mx.float32)})
        print(name, tokens[PROMPT:], float(mx.abs(logits).max()))


main()
