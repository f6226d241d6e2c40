//! Codes and scales against those of NumPy (scripts/oracles/quantise.py).

use half::bf16;
use mlxbench_core::Scheme;
use mlxbench_core::quantise::Codes;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    columns: usize,
    weights: Vec<u32>,
    q8: Expected,
    q4: Expected,
}

#[derive(Deserialize)]
struct Expected {
    codes: Vec<i8>,
    scales: Vec<u16>,
}

#[test]
fn codes_and_scales_are_numpys() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../quantised.json")).unwrap();
    assert!(cases.len() > 20);
    for case in cases {
        let weights: Vec<f32> = case.weights.iter().copied().map(f32::from_bits).collect();
        for (scheme, expected) in [(Scheme::Q8, &case.q8), (Scheme::Q4, &case.q4)] {
            let found = Codes::of(scheme, &weights, case.columns).unwrap();
            let scales: Vec<u16> = found.scales.iter().map(|scale| scale.to_bits()).collect();
            let numbers = |bits: &[u16]| -> Vec<f32> {
                bits.iter()
                    .map(|&bits| bf16::from_bits(bits).to_f32())
                    .collect()
            };
            // As numbers: a zero has two signs.
            assert_eq!(numbers(&scales), numbers(&expected.scales), "{}", case.name);
            assert_eq!(found.codes, expected.codes, "{} {scheme:?}", case.name);
        }
    }
}
