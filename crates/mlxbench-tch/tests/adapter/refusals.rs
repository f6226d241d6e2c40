//! What can't be done is refused.

use mlxbench_conformance::{Golden, refusals};
use mlxbench_core::{Backend, Device, Error, Placement, WeightFormat};
use mlxbench_tch::TchBackend;

fn on_the_cpu(precision: &str) -> Placement {
    Placement {
        device: Device::cpu(),
        precision: precision.parse().expect("a precision"),
    }
}

#[test]
fn what_is_listed_as_unsupported_is_refused() {
    refusals::every_refusal(&mut TchBackend::default()).unwrap();
}

#[test]
fn the_cpu_runs_every_precision_but_what_a_checkpoint_has_packed() {
    let devices = TchBackend::default().devices();
    let cpu = devices.iter().find(|known| known.device == Device::cpu());
    for known in &cpu.unwrap().precisions {
        let native = known.precision.weights() == WeightFormat::Native;
        assert_eq!(known.unsupported.is_some(), native, "{}", known.precision);
    }
}

#[test]
fn a_shape_that_no_quantised_product_takes_is_named() {
    for precision in ["q8-bf16", "q4-f32"] {
        let golden = &Golden::all().unwrap()[0];
        let loaded = golden.load(&mut TchBackend::default(), &on_the_cpu(precision));
        match loaded {
            Err(Error::Unsupported(message)) => {
                assert!(message.contains("in multiples of"), "{message}");
                assert!(message.contains(".weight` is of shape ["), "{message}");
            }
            other => panic!("{precision}: {other:?}"),
        }
    }
}
