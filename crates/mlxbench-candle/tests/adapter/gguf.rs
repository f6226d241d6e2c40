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
use mlxbench_core::checkpoint::{GGUF_FILE, SINGLE_FILE};
use mlxbench_core::gemma::gguf_name;
use mlxbench_core::generate::Mode;
use mlxbench_core::score::{Forced, score};
use mlxbench_core::{
    Backend, Checkpoint, Device as Name, Dtype, Error, Model, Placement, Precision, Scheme,
    TokenBatch,
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

/// Of which kind the tensor called `name` is in the file: values in more bits than queries and keys, as in
/// Q4_K_M.
fn kind(name: &str) -> GgmlDType {
    match name {
        _ if name.ends_with("v_proj.weight") => GgmlDType::Q8_0,
        _ if name.ends_with("down_proj.weight") => GgmlDType::Q5_0,
        "model.embed_tokens.weight" => GgmlDType::Q8_0,
        _ => GgmlDType::Q4_0,
    }
}

/// Writes `golden` as a GGUF file, and to `folder` what an import makes of that.
fn import(golden: &Golden, folder: &Path) {
    golden.write(folder).unwrap();
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
    let ids: Vec<u32> = (0..24).map(|i| (7 * i * i + 11 * i + 2) % 160).collect();
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

#[test]
fn logits_are_those_of_the_dequantised_blocks() {
    for golden in Golden::quantised(Scheme::Q4).unwrap() {
        let folder = tempfile::tempdir().unwrap();
        import(&golden, folder.path());
        let expected = logits(folder.path(), Dtype::F32.into());
        let found = logits(folder.path(), Precision::native(Dtype::F32));
        assert_eq!(expected.len(), found.len());
        let differences = expected.iter().zip(&found).map(|(a, b)| (a - b).abs());
        let largest = differences.fold(0.0, |most, d| match d.is_nan() {
            true => f32::INFINITY,
            false => d.max(most),
        });
        // 0.22 was seen on gemma3, where the estimate behind the constant assumes that errors don't grow.
        assert!(largest < 1.5 * EIGHT_BITS, "{}: {largest}", golden.name);
        assert!(
            largest > 0.0,
            "activations are rounded: it isn't the same computation"
        );
    }
}

#[test]
fn bytes_are_those_of_the_blocks() {
    let golden = &Golden::quantised(Scheme::Q4).unwrap()[0];
    let folder = tempfile::tempdir().unwrap();
    import(golden, folder.path());
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
    import(golden, folder.path());
    std::fs::remove_file(folder.path().join("model.gguf")).unwrap();
    let gone = load().to_string();
    assert!(
        gone.contains("model.gguf") && gone.contains("was imported from it"),
        "{gone}"
    );
}
