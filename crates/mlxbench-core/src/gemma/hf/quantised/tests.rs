//! Formats of weights as config.json and its neighbours name them.

use super::*;
use serde_json::json;

fn refusal(value: &Value) -> String {
    read(&mut Keys::new("", value.as_object().unwrap())).unwrap_err()
}

#[test]
fn formats_are_named_as_what_they_are() {
    let formats = [
        (
            json!({"quantization": {"group_size": 64, "bits": 7}}),
            "MLX 7-bit, group size 64 (`quantization`)",
        ),
        (
            json!({"quantization_config": {"group_size": 32, "bits": 4, "mode": "mxfp4"}}),
            "MLX 4-bit (mxfp4), group size 32",
        ),
        (
            json!({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true,
                "bnb_4bit_quant_type": "nf4"}}),
            "bitsandbytes 4-bit (nf4) (`quantization_config`)",
        ),
        (
            json!({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": true}}),
            "bitsandbytes 8-bit",
        ),
        (
            json!({"quantization_config": {"quant_method": "gptq", "bits": 4}}),
            "GPTQ 4-bit",
        ),
        (
            json!({"quantization_config": {"quant_method": "awq", "bits": 4}}),
            "AWQ 4-bit",
        ),
        (
            json!({"quantization_config": {"quant_method": "fp8"}}),
            "FP8",
        ),
        (
            json!({"quantization_config": {"quant_method": "compressed-tensors",
                "format": "float-quantized"}}),
            "compressed-tensors (float-quantized)",
        ),
        (
            json!({"quantization_config": {"quant_method": "torchao"}}),
            "torchao",
        ),
        (
            json!({"quantization": {"bits": 4}}),
            "MLX 4-bit (`quantization`)",
        ),
        (
            json!({"quantization_config": {"bits": 4, "group_size": 128, "desc_act": false,
                "sym": true}}),
            "GPTQ 4-bit",
        ),
        (
            json!({"quantization_config": {"w_bit": 4, "q_group_size": 128,
                "zero_point": true, "version": "GEMM"}}),
            "AWQ 4-bit",
        ),
        (
            json!({"quantization_config": {"quant_method": "awq", "w_bit": 4}}),
            "AWQ 4-bit",
        ),
        (
            json!({"quantization_config": {"quant_algo": "FP8",
                "producer": {"name": "modelopt"}}}),
            "ModelOpt FP8",
        ),
        (
            json!({"quantization_config": {"quantization": {"quant_algo": "NVFP4"},
                "producer": {"name": "modelopt"}}}),
            "ModelOpt NVFP4",
        ),
        (
            json!({"quantization_config": {"quant_method": "bitsandbytes",
                "_load_in_8bit": true, "_load_in_4bit": false, "load_in_4bit": false}}),
            "bitsandbytes 8-bit",
        ),
        (
            json!({"quantization_config": {"quant_method": "hqq",
                "quant_config": {"weight_quant_params": {"nbits": 4}}}}),
            "HQQ 4-bit",
        ),
        (
            json!({"quantization_config": {"quant_method": "exl2", "bits": 4.65}}),
            "EXL2 4.65-bit",
        ),
        (
            json!({"quantization": "q4f16_0"}),
            "a format that the file doesn't name (\"q4f16_0\")",
        ),
    ];
    for (value, expected) in formats {
        let message = refusal(&value);
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("bf16, f16 or f32"), "{message}");
    }
}

#[test]
fn what_is_off_is_not_quantised() {
    let off = [
        json!({"quantization": null, "quantization_config": {}}),
        json!({"quantization": false}),
        json!({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": false,
            "load_in_8bit": false}}),
    ];
    for value in off {
        read(&mut Keys::new("", value.as_object().unwrap())).unwrap();
    }
}

#[test]
fn files_beside_config_json_say_it_too() {
    let aside = [
        (
            "hf_quant_config.json",
            json!({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}}),
            "ModelOpt NVFP4 (`hf_quant_config.json`)",
        ),
        (
            "quantize_config.json",
            json!({"bits": 4, "group_size": 128, "damp_percent": 0.01}),
            "GPTQ 4-bit",
        ),
        (
            "quant_config.json",
            json!({"zero_point": true, "q_group_size": 128, "w_bit": 4}),
            "AWQ 4-bit",
        ),
        ("quant_config.json", json!({"x": 1}), "AWQ (`"),
    ];
    for (name, value, expected) in aside {
        let message = refuse_aside(name, &value.to_string()).unwrap_err();
        assert!(message.contains(expected), "{message}");
        assert!(message.ends_with(&format!("remove {name}")), "{message}");
    }
    let cache_only = r#"{"quantization": {"quant_algo": null, "kv_cache_quant_algo": "FP8"}}"#;
    for harmless in [cache_only, "{}", "not JSON", "[]"] {
        refuse_aside("hf_quant_config.json", harmless).unwrap();
    }
}

#[test]
fn what_mlx_lm_packs_is_read_under_one_key_or_both() {
    let packed = json!({"group_size": 64, "bits": 4, "mode": "affine"});
    let packing = |file: Value| read(&mut Keys::new("", file.as_object().unwrap()));
    let one = packing(json!({"quantization": packed})).unwrap();
    let both = packing(json!({"quantization": packed, "quantization_config": packed})).unwrap();
    assert!(one.is_some() && one == both);
    let other = json!({"group_size": 32, "bits": 4});
    let message = packing(json!({"quantization": packed, "quantization_config": other}));
    assert!(message.unwrap_err().contains("disagree"));
}
