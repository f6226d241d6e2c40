//! Quantised weights.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

use mlxbench_conformance::Golden;
use mlxbench_core::gemma::{Activations, Storage};
use mlxbench_core::{Device, Dtype, Model, Placement, Precision, Scheme};

use crate::on_one_thread;

/// On the CPU candle rounds activations to 8 bits: for each 32 to steps of their largest / 127. Such an error
/// has 0.29 steps, the largest of 32 numbers is about 2.2 times their root mean square: 0.5 % of it. A model
/// of 4 layers with 4 products in each, and the head, adds up 17 of them: sqrt(17) x 0.5 % = 2 % of the
/// logits, whose standard deviation is at most 2.5 here. The largest of some ten thousand is 4 times as far.
pub(crate) const EIGHT_BITS: f32 = 4.0 * 0.02 * 2.5;

fn on_the_cpu(scheme: Scheme, compute: Dtype) -> Placement {
    Placement {
        device: Device::cpu(),
        precision: Precision::quantised(scheme, compute),
    }
}

#[test]
fn logits_are_those_of_the_codes_but_for_activations_of_eight_bits() {
    for scheme in [Scheme::Q8, Scheme::Q4] {
        let placement = on_the_cpu(scheme, Dtype::F32);
        for golden in Golden::quantised(scheme).unwrap() {
            let comparison = golden.compare(&mut on_one_thread(), &placement);
            // Gemma 4 doesn't scale scores: errors grow in attention. By scripts/oracles/rounding.py activations of
            // 8 bits take transformers itself 0.61 away, three times as far as Gemma 3.
            let grown = match golden.name.starts_with("gemma4") {
                true => 4.0,
                false => 1.0,
            };
            comparison.unwrap().assert_logits_within(grown * EIGHT_BITS);
        }
    }
}

/// 16 bits round the numbers between the products, too.
#[test]
fn logits_are_near_in_sixteen_bits() {
    for scheme in [Scheme::Q8, Scheme::Q4] {
        let golden = &Golden::quantised(scheme).unwrap()[2];
        // Beside the activations' 8 bits what 16 bits round: see the tch adapter's test of this golden.
        for (compute, rounding) in [(Dtype::Bf16, 0.5), (Dtype::F16, 0.0625)] {
            let placement = on_the_cpu(scheme, compute);
            let comparison = golden.compare(&mut on_one_thread(), &placement);
            comparison
                .unwrap()
                .assert_logits_within(EIGHT_BITS + rounding);
        }
    }
}

#[test]
fn a_rewound_model_goes_on_as_one_that_was_never_there() {
    let placement = on_the_cpu(Scheme::Q4, Dtype::F32);
    for golden in Golden::quantised(Scheme::Q4).unwrap() {
        let difference = golden.compare_rewound(&mut on_one_thread(), &placement);
        let difference = difference.unwrap();
        assert!(
            difference < 1e-4,
            "{}: differs by {difference}",
            golden.name
        );
    }
}

/// Two projections of queries and output of 128 x 128, two of keys and values of 64 x 128, three of the MLP
/// of 192 x 128; three layers.
const GEMMA_1_LAYERS: u64 = 3 * (2 * 128 * 128 + 2 * 64 * 128 + 3 * 192 * 128);

/// Norms of 128, two a layer and one; biases of queries, keys, values and output.
const GEMMA_1_OTHERS: u64 = 7 * 128 + 3 * (128 + 64 + 64 + 128);

fn storage(golden: &str, placement: &Placement) -> Storage {
    let scheme = placement.precision.scheme().unwrap();
    let mut goldens = Golden::quantised(scheme).unwrap().into_iter();
    let golden = goldens.find(|known| known.name == golden).unwrap();
    let model = golden.load(&mut on_one_thread(), placement);
    model.unwrap().storage().unwrap()
}

#[test]
fn storage_is_what_blocks_norms_and_biases_take() {
    // 34 bytes for 32 weights of 8 bits, 18 for those of 4. Two tables of 160 x 128.
    let q8 = storage("gemma1-bias-untied", &on_the_cpu(Scheme::Q8, Dtype::F32));
    let expected = Storage {
        layers_bytes: GEMMA_1_LAYERS / 32 * 34,
        tables_bytes: 2 * 160 * 128 / 32 * 34,
        others_bytes: GEMMA_1_OTHERS * 4,
        ..Storage::empty(Dtype::F32, Activations::Int8)
    };
    assert_eq!(q8, expected);
    let q4 = storage("gemma1-bias-untied", &on_the_cpu(Scheme::Q4, Dtype::Bf16));
    let expected = Storage {
        layers_bytes: GEMMA_1_LAYERS / 32 * 18,
        others_bytes: GEMMA_1_OTHERS * 2,
        kv_cache: Dtype::Bf16,
        ..expected
    };
    assert_eq!(q4, expected);
}

#[test]
fn a_tied_table_is_held_once() {
    let storage = storage("gemma3", &on_the_cpu(Scheme::Q4, Dtype::F32));
    assert_eq!(storage.tables_bytes, 160 * 192 / 32 * 34);
}

#[test]
fn a_model_names_its_product() {
    let golden = &Golden::quantised(Scheme::Q4).unwrap()[0];
    for (compute, product) in [
        (Dtype::F32, "QMatMul"),
        (Dtype::Bf16, "QMatMul in f32, from and to bf16"),
        (Dtype::F16, "QMatMul in f32, from and to f16"),
    ] {
        let placement = on_the_cpu(Scheme::Q4, compute);
        let model = golden.load(&mut on_one_thread(), &placement);
        let kernels = model.unwrap().kernels();
        assert_eq!(kernels["quantised product"], product);
        assert_eq!(kernels.len(), 1, "{kernels:?}");
    }
}
