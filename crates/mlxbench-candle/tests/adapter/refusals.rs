//! What can't be done is refused.

use mlxbench_conformance::{Golden, refusals};
use mlxbench_core::{Backend, Device, Error, Placement, Precision};

use crate::on_one_thread;

fn quantised() -> impl Iterator<Item = Placement> {
    let all = Precision::ALL.into_iter();
    all.filter(|precision| precision.is_quantised())
        .map(|precision| Placement {
            device: Device::cpu(),
            precision,
        })
}

#[test]
fn what_is_said_to_be_unsupported_is_refused() {
    refusals::every_refusal(&mut on_one_thread()).unwrap();
}

#[test]
fn the_cpu_lists_every_precision() {
    let devices = on_one_thread().devices();
    let cpu = devices.iter().find(|cpu| cpu.device == Device::cpu());
    let refused = cpu.unwrap().precisions.iter();
    let refused: Vec<_> = refused.filter(|p| p.unsupported.is_some()).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn matrices_that_are_no_whole_blocks_are_refused() {
    let golden = &Golden::all().unwrap()[0];
    for placement in quantised().filter(|placement| placement.precision.scheme().is_some()) {
        let refused = golden.load(&mut on_one_thread(), &placement);
        let Err(Error::Unsupported(message)) = refused else {
            panic!("{placement}: {refused:?}");
        };
        let tensor = "`model.embed_tokens.weight`, of shape [";
        assert!(message.contains(tensor), "{message}");
    }
}
