//! Weights and configurations come back.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use half::f16;
use mlxbench_core::{Checkpoint, Dtype};

use crate::fixture::Fixture;
use crate::writer::{Field, Stored};

/// Stores all matrices as `kind` does, whose number in ggml is `number`.
fn quantise(fixture: &mut Fixture, number: u32, kind: GgmlDType) {
    for tensor in &mut fixture.gguf.tensors {
        if tensor.shape.len() < 2 {
            continue;
        }
        let values: Vec<f32> = tensor
            .data
            .as_chunks()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        let shape: Vec<usize> = tensor.shape.iter().map(|&size| size as usize).collect();
        let plain = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        let quantised = QTensor::quantize(&plain, kind).unwrap();
        tensor.kind = number;
        tensor.data = quantised.data().unwrap().into_owned();
    }
}

#[test]
fn every_generation_comes_back_with_its_weights_and_configuration() {
    for model_type in ["gemma", "gemma2", "gemma3"] {
        let fixture = Fixture::new(model_type);
        let imported = fixture.import(Dtype::F32).unwrap();
        // Norms went through 1 + w, which rounds.
        assert!(fixture.largest_difference(&imported) < 1e-7, "{model_type}");
        let checkpoint = Checkpoint::open(&imported).unwrap();
        assert_eq!(checkpoint.config(), &fixture.config, "{model_type}");
    }
}

#[test]
fn a_head_of_its_own_and_biases_come_back() {
    for key in ["tie_word_embeddings", "attention_bias"] {
        let fixture = Fixture::with("gemma3", |json| {
            json[key] = (key == "attention_bias").into();
        });
        let imported = fixture.import(Dtype::F32).unwrap();
        assert!(fixture.largest_difference(&imported) < 1e-7, "{key}");
        let checkpoint = Checkpoint::open(&imported).unwrap();
        assert_eq!(checkpoint.config(), &fixture.config, "{key}");
    }
}

#[test]
fn quantised_weights_come_back_nearly() {
    let mut fixture = Fixture::new("gemma3");
    quantise(&mut fixture, 8, GgmlDType::Q8_0);
    let difference = fixture.largest_difference(&fixture.import(Dtype::F32).unwrap());
    // Q8_0 keeps a block's values to 1/254 of its largest, here below 4.5 / sqrt(32).
    assert!(difference > 0.0 && difference < 0.8 / 254.0, "{difference}");
}

#[test]
fn half_precision_comes_back_exactly() {
    for (number, kind) in [(1, GgmlDType::F16), (30, GgmlDType::BF16)] {
        let mut fixture = Fixture::new("gemma3");
        quantise(&mut fixture, number, kind);
        let stored = fixture.gguf.tensor("blk.0.attn_q.weight").data.clone();
        let imported = fixture.import(if number == 1 { Dtype::F16 } else { Dtype::Bf16 });
        let checkpoint = Checkpoint::open(&imported.unwrap()).unwrap();
        let name = "model.layers.0.self_attn.q_proj.weight";
        assert_eq!(checkpoint.tensor(name).bytes(), stored);
    }
}

#[test]
fn iq4_nl_comes_back_as_its_table_says() {
    let mut fixture = Fixture::new("gemma3");
    let tensor = fixture.gguf.tensor("blk.3.ffn_up.weight");
    let mut block = f16::from_f32(0.25).to_le_bytes().to_vec();
    block.extend([0x10; 16]);
    tensor.kind = 20;
    tensor.data = block.repeat((tensor.shape[0] * tensor.shape[1] / 32) as usize);
    let checkpoint = Checkpoint::open(&fixture.import(Dtype::F32).unwrap()).unwrap();
    let values: Vec<f32> = checkpoint
        .tensor("model.layers.3.mlp.up_proj.weight")
        .to_vec();
    for halves in values.chunks(32) {
        assert_eq!(halves[..16], [-127.0 * 0.25; 16]);
        assert_eq!(halves[16..], [-104.0 * 0.25; 16]);
    }
}

#[test]
fn weights_are_bf16_when_asked() {
    let fixture = Fixture::new("gemma2");
    let checkpoint = Checkpoint::open(&fixture.import(Dtype::Bf16).unwrap()).unwrap();
    assert_eq!(
        checkpoint.dtypes().into_iter().collect::<Vec<_>>(),
        [Dtype::Bf16]
    );
}

#[test]
fn types_that_cannot_be_read_are_named() {
    for (number, name) in [
        (39, "MXFP4"),
        (16, "IQ2_XXS"),
        (34, "TQ1_0"),
        (99, "ggml's type 99"),
    ] {
        let mut fixture = Fixture::new("gemma3");
        fixture.gguf.tensor("blk.1.ffn_down.weight").kind = number;
        let message = fixture.refusal();
        assert!(
            message.contains("`blk.1.ffn_down.weight`")
                && message.contains(&format!("stored as {name},"))
                && message.contains("Q4_K"),
            "{message}"
        );
    }
}

#[test]
fn tensors_of_another_model_are_named() {
    let mut fixture = Fixture::new("gemma3");
    fixture.gguf.tensors.push(Stored {
        name: "rope_freqs.weight".into(),
        shape: vec![8],
        kind: 0,
        data: vec![0; 32],
    });
    let message = fixture.refusal();
    assert!(message.contains("`rope_freqs.weight`"), "{message}");

    let mut fixture = Fixture::new("gemma3");
    fixture
        .gguf
        .tensors
        .retain(|tensor| tensor.name != "blk.2.attn_k_norm.weight");
    let message = fixture.refusal();
    assert!(
        message.contains("`blk.2.attn_k_norm.weight` is missing"),
        "{message}"
    );
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let mut fixture = Fixture::new("gemma3");
    let tensor = fixture.gguf.tensor("blk.5.ffn_up.weight");
    tensor.data[400..404].copy_from_slice(&f32::NAN.to_le_bytes());
    let message = fixture.refusal();
    assert!(message.contains("`blk.5.ffn_up.weight`"), "{message}");

    let mut fixture = Fixture::new("gemma3");
    let tensor = fixture.gguf.tensor("blk.5.ffn_up.weight");
    tensor.data[..4].copy_from_slice(&1e5f32.to_le_bytes());
    fixture.import(Dtype::F16).unwrap_err();
    fixture.import(Dtype::Bf16).unwrap();
}

#[test]
fn a_file_that_ends_in_zeros_is_refused() {
    let fixture = Fixture::new("gemma3");
    let whole = fixture.gguf.bytes();
    let data = whole.len() - fixture.gguf.header().len();
    for length in [data / 2, data / 10, 32 * 4] {
        let mut bytes = whole.clone();
        let start = bytes.len() - length;
        bytes[start..].fill(0);
        std::fs::write(fixture.path("model.gguf"), bytes).unwrap();
        let message = fixture.import_file("model.gguf", Dtype::F32).unwrap_err();
        assert!(
            message.contains("model.gguf: tensor `") && message.contains("cut short"),
            "{message}"
        );
    }
}

#[test]
fn zeros_in_place_of_a_norm_s_factor_or_a_matrix_are_refused() {
    for name in [
        "blk.2.attn_norm.weight",
        "blk.2.ffn_up.weight",
        "token_embd.weight",
    ] {
        let mut fixture = Fixture::new("gemma3");
        fixture.gguf.tensor(name).data.fill(0);
        let message = fixture.refusal();
        assert!(
            message.contains(&format!("`{name}` is all zeros")),
            "{message}"
        );
    }
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let fixture = Fixture::new("gemma");
    let target = fixture.path("imported");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("mine"), "").unwrap();
    let message = fixture.import(Dtype::F32).unwrap_err();
    assert!(message.contains("is not empty"), "{message}");
}

#[test]
fn keys_that_were_not_used_are_returned() {
    let mut fixture = Fixture::new("gemma3");
    fixture
        .gguf
        .set("gemma3.rope.scaling.finetuned", Field::Bool(false));
    fixture.gguf.set("quantize.imatrix.file", Field::text("x"));
    std::fs::write(fixture.path("model.gguf"), fixture.gguf.bytes()).unwrap();
    let target = fixture.path("imported");
    let imported = mlxbench_gguf::import(&fixture.path("model.gguf"), &target, Dtype::F32, None);
    assert_eq!(
        imported.unwrap().unused_keys,
        [
            "gemma3.rope.scaling.finetuned",
            "general.name",
            "quantize.imatrix.file"
        ]
    );
}
