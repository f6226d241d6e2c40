//! What can't be done is refused.

use mlxbench_conformance::{Golden, refusals};
use mlxbench_core::{Device, Error, Placement, Precision};
use mlxbench_mlx::MlxBackend;

fn quantised_on_the_cpu() -> impl Iterator<Item = Placement> {
    let all = Precision::ALL.into_iter();
    let quantised = all.filter(|precision| precision.is_quantised());
    quantised.map(|precision| Placement {
        device: Device::cpu(),
        precision,
    })
}

#[test]
fn what_is_said_to_be_unsupported_is_refused() {
    refusals::every_refusal(&mut MlxBackend::default()).unwrap();
}

#[test]
fn matrices_that_are_no_whole_groups_are_refused() {
    let golden = &Golden::all().unwrap()[0];
    for placement in quantised_on_the_cpu().filter(|p| p.precision.scheme().is_some()) {
        let refused = golden.load(&mut MlxBackend::default(), &placement);
        let Err(Error::Unsupported(message)) = refused else {
            panic!("{placement}: {refused:?}");
        };
        let tensor = "`model.embed_tokens.weight`, of shape [";
        assert!(message.contains(tensor), "{message}");
    }
}
