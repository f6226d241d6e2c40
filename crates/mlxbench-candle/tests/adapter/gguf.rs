//! Blocks of GGUF files, taken as they are.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

use std::fs::File;
use std::path::Path;

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use mlxbench_conformance::Golden;
use mlxbench_core::checkpoint::{GGUF_FILE, SINGLE_FILE, read_config};
use mlxbench_core::gemma::gguf_name;
use mlxbench_core::generate::Mode;
use mlxbench_core::lora::Lora;
use mlxbench_core::score::{Forced, score};
use mlxbench_core::{
    Backend, Checkpoint, Device as Name, Dtype, Error, Model, Placement, Precision, Scheme,
    TokenBatch, numbers,
};
use safetensors::tensor::TensorView;

use crate::on_one_thread;
use crate::quantised::EIGHT_BITS;

fn on_the_cpu(precision: Precision) -> Placement {
    Placement {
        device: Name::cpu(),
        precision,
    }
}

/// Of which kind the tensor called `name` is in a file of blocks of 32, which has several.
fn blocks_of_32(name: &str) -> GgmlDType {
    match name {
        _ if name.ends_with("v_proj.weight") => GgmlDType::Q8_0,
        _ if name.ends_with("down_proj.weight") => GgmlDType::Q5_0,
        "model.embed_tokens.weight" => GgmlDType::Q8_0,
        _ => GgmlDType::Q4_0,
    }
}

/// As [`blocks_of_32`] in a file of superblocks of 256, as llama.cpp mixes them in Q4_K_M.
fn q4_k_m(name: &str) -> GgmlDType {
    match name {
        _ if name.ends_with("v_proj.weight") || name.ends_with("down_proj.weight") => {
            GgmlDType::Q6K
        }
        "model.embed_tokens.weight" => GgmlDType::Q6K,
        _ => GgmlDType::Q4K,
    }
}

/// Writes a model of random weights to `folder` whose matrices are as wide as superblocks need.
fn write_wide(folder: &Path) {
    let config = r#"{"model_type": "gemma", "vocab_size": 96, "hidden_size": 256, "intermediate_size": 512,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
        "hidden_act": "gelu_pytorch_tanh", "rope_theta": 300.0, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 512}"#;
    std::fs::write(folder.join("config.json"), config).unwrap();
    let specs = read_config(folder).unwrap().tensors();
    let weights: Vec<Vec<u8>> = (0..)
        .zip(&specs)
        .map(|(seed, spec)| {
            let elements = spec.elements() as usize;
            let values = numbers(seed).take(elements).map(|number| 0.1 * number);
            values.flat_map(f32::to_le_bytes).collect()
        })
        .collect();
    let views = specs.iter().zip(&weights).map(|(spec, bytes)| {
        let view = TensorView::new(safetensors::Dtype::F32, spec.shape.clone(), bytes);
        (&spec.name, view.unwrap())
    });
    safetensors::serialize_to_file(views, None, &folder.join(SINGLE_FILE)).unwrap();
}

/// Writes the model in `folder` as a GGUF file, its matrices of the kinds that `kind` says by name, and in its
/// place what an import makes of that.
fn import(folder: &Path, kind: fn(&str) -> GgmlDType) {
    let stored = Checkpoint::open(folder).unwrap();
    let config = stored.config();
    let mut blocks = Vec::new();
    let mut dequantised = Vec::new();
    for spec in config.tensors() {
        let values: Vec<f32> = stored.tensor(&spec.name).to_vec();
        let tensor = Tensor::from_vec(values.clone(), spec.shape.clone(), &Device::Cpu).unwrap();
        let (tensor, values) = match spec.columns() {
            None => (QTensor::quantize(&tensor, GgmlDType::F32).unwrap(), values),
            Some(_) => {
                let tensor = QTensor::quantize(&tensor, kind(&spec.name)).unwrap();
                let values = tensor
                    .dequantize(&Device::Cpu)
                    .unwrap()
                    .flatten_all()
                    .unwrap();
                (tensor, values.to_vec1().unwrap())
            }
        };
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        blocks.push((gguf_name(&spec.name, config.generation), tensor));
        dequantised.push((spec, bytes));
    }
    let path = folder.join("model.gguf");
    let tensors: Vec<(&str, &QTensor)> = blocks.iter().map(|(n, t)| (n.as_str(), t)).collect();
    gguf_file::write(&mut File::create(&path).unwrap(), &[], &tensors).unwrap();
    drop(stored);
    let views = dequantised.iter().map(|(spec, bytes)| {
        let view = TensorView::new(safetensors::Dtype::F32, spec.shape.clone(), bytes);
        (&spec.name, view.unwrap())
    });
    safetensors::serialize_to_file(views, None, &folder.join(SINGLE_FILE)).unwrap();
    let config = folder.join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let named = format!("{{\"{GGUF_FILE}\": {path:?},");
    std::fs::write(&config, text.replacen('{', &named, 1)).unwrap();
}

fn logits(folder: &Path, precision: Precision) -> Vec<f32> {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let mut backend = on_one_thread();
    let mut model = backend.load(&checkpoint, &on_the_cpu(precision)).unwrap();
    let ids: Vec<u32> = (0..24).map(|i| (7 * i * i + 11 * i + 2) % 96).collect();
    let text = Forced {
        context: None,
        tokens: &TokenBatch::row(ids),
        prompt: 9,
        chunk: 4,
        mode: Mode::Pipelined,
    };
    let mut all = Vec::new();
    score(&mut model, &text, |logits| {
        all.extend(logits);
        Ok(())
    })
    .unwrap();
    all
}

/// How far the logits from the blocks in `folder` are from those of their dequantised weights at most, and the
/// root mean square of the latter.
fn largest_difference(folder: &Path) -> (f32, f32) {
    let expected = logits(folder, Dtype::F32.into());
    let found = logits(folder, Precision::native(Dtype::F32));
    assert_eq!(expected.len(), found.len());
    let differences = expected.iter().zip(&found).map(|(a, b)| (a - b).abs());
    let largest = differences.fold(0.0, |most, d| match d.is_nan() {
        true => f32::INFINITY,
        false => d.max(most),
    });
    let squares: f32 = expected.iter().map(|logit| logit * logit).sum();
    (largest, (squares / expected.len() as f32).sqrt())
}

#[test]
fn logits_are_those_of_the_dequantised_blocks() {
    let goldens = Golden::quantised(Scheme::Q4).unwrap().into_iter();
    // GGUF files of Gemma 4 aren't read.
    for golden in goldens.filter(|golden| !golden.name.starts_with("gemma4")) {
        let folder = tempfile::tempdir().unwrap();
        golden.write(folder.path()).unwrap();
        import(folder.path(), blocks_of_32);
        let (largest, _) = largest_difference(folder.path());
        // 0.22 was seen on gemma3, where the estimate behind the constant assumes that errors don't grow.
        assert!(largest < 1.5 * EIGHT_BITS, "{}: {largest}", golden.name);
        assert!(
            largest > 0.0,
            "activations are rounded: it isn't the same computation"
        );
    }
}

/// Of 256 activations with one scale the largest is about 2.8 times their root mean square, so that a product is
/// off by 0.29 x 2.8 / 127 = 0.64 %; nine of them make 1.9 %, and the largest of some thousand errors is four times
/// as far.
#[test]
fn superblocks_are_taken_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    write_wide(folder.path());
    import(folder.path(), q4_k_m);
    let (largest, typical) = largest_difference(folder.path());
    assert!(largest < 4.0 * 0.019 * typical, "{largest} of {typical}");
    assert!(largest > 0.0, "activations are rounded");
}

/// The losses of some steps beside the weights in `folder`.
fn losses(folder: &Path, precision: Precision) -> Vec<f32> {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let mut backend = on_one_thread();
    let mut model = backend.load(&checkpoint, &on_the_cpu(precision)).unwrap();
    let lora = Lora {
        learning_rate: 0.01,
        ..Lora::default()
    };
    let mut trainer = model.trainer(&lora).unwrap();
    let rows = TokenBatch::row((0..24).map(|i| (7 * i * i + 11 * i + 2) % 96).collect());
    let losses = (0..3).map(|_| {
        trainer.step(&rows).unwrap();
        trainer.loss().unwrap()
    });
    losses.collect()
}

/// Of both kinds of file some products are with matrices of several kinds.
#[test]
fn adapters_train_beside_blocks_as_beside_the_dequantised_ones() {
    for kind in [blocks_of_32, q4_k_m] {
        let folder = tempfile::tempdir().unwrap();
        write_wide(folder.path());
        import(folder.path(), kind);
        let expected = losses(folder.path(), Dtype::F32.into());
        let found = losses(folder.path(), Precision::native(Dtype::F32));
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (found - expected).abs() < 1e-4 * expected,
                "{found} {expected}"
            );
        }
    }
}

#[test]
fn bytes_are_those_of_the_blocks() {
    let golden = &Golden::quantised(Scheme::Q4).unwrap()[0];
    let folder = tempfile::tempdir().unwrap();
    golden.write(folder.path()).unwrap();
    import(folder.path(), blocks_of_32);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let placement = on_the_cpu(Precision::native(Dtype::F32));
    let model = on_one_thread().load(&checkpoint, &placement).unwrap();
    let storage = model.storage().unwrap();
    // Blocks of 32: 18 bytes of Q4_0, 22 of Q5_0, 34 of Q8_0; three layers.
    let blocks = |elements: u64, bytes: u64| elements / 32 * bytes;
    let layer = blocks(2 * 128 * 128 + 64 * 128 + 2 * 192 * 128, 18)
        + blocks(64 * 128, 34)
        + blocks(192 * 128, 22);
    assert_eq!(storage.layers_bytes, 3 * layer);
    assert_eq!(
        storage.tables_bytes,
        blocks(160 * 128, 34) + blocks(160 * 128, 18)
    );
}

#[test]
fn a_file_that_is_gone_and_a_model_that_has_none_are_told() {
    let golden = &Golden::quantised(Scheme::Q4).unwrap()[0];
    let folder = tempfile::tempdir().unwrap();
    golden.write(folder.path()).unwrap();
    let native = on_the_cpu(Precision::native(Dtype::F32));
    let load = || {
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        on_one_thread().load(&checkpoint, &native).unwrap_err()
    };
    let none = load();
    assert!(
        matches!(&none, Error::Unsupported(why) if why.contains("comes from none")),
        "{none}"
    );
    import(folder.path(), blocks_of_32);
    std::fs::remove_file(folder.path().join("model.gguf")).unwrap();
    let gone = load().to_string();
    assert!(
        gone.contains("model.gguf") && gone.contains("was imported from it"),
        "{gone}"
    );
}
