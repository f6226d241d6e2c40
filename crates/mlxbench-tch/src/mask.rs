//! Attention masks, made on the device from ranges: nothing is uploaded, and the host does the same little
//! work whatever the depth.

use std::ops::Range;

use mlxbench_core::gemma::pass::{self, Pass};
use tch::{Device, Kind, TchError, Tensor};

/// Kernels want rows that begin at multiples of so many elements.
const ALIGNED: usize = 8;

/// The mask of `pass` as numbers to add to scores: 0 where a token sees an entry, minus infinity where it
/// doesn't. Of shape `[group * tokens, read]`, the tokens once for each of the queries that share a head;
/// `None` where each token sees all.
pub(crate) fn of_pass(
    pass: &Pass,
    group: i64,
    place: (Kind, Device),
) -> Result<Option<Tensor>, TchError> {
    let window = match pass.mask {
        pass::Mask::None => return Ok(None),
        pass::Mask::Causal => None,
        pass::Mask::Windowed(window) => Some(window),
    };
    of_positions(
        &pass.positions,
        &pass.read_positions(),
        window,
        group,
        place,
    )
    .map(Some)
}

/// The mask of tokens at `queries` that see entries at `keys` up to their own position, of those as many as
/// the window has. As [`of_pass`].
pub(crate) fn of_positions(
    queries: &Range<usize>,
    keys: &Range<usize>,
    window: Option<usize>,
    group: i64,
    place: (Kind, Device),
) -> Result<Tensor, TchError> {
    let range = |start: usize, count: usize| {
        let (start, count) = (start as i64, count as i64);
        Tensor::f_arange_start(start, start + count, (Kind::Int64, place.1))
    };
    let queries = range(queries.start, queries.len())?
        .f_repeat([group])?
        .f_unsqueeze(1)?;
    let read = range(keys.start, keys.len().next_multiple_of(ALIGNED))?;
    let mut hidden = read.f_gt_tensor(&queries)?;
    if let Some(window) = window {
        let dropped = read.f_le_tensor(&queries.f_sub_scalar(window as i64)?)?;
        hidden = hidden.f_logical_or_(&dropped)?;
    }
    additive(&hidden, place)?.f_narrow(1, 0, keys.len() as i64)
}

/// The mask of a token that sees the first `count` entries of a buffer from `first` to before `end`, which
/// are on the device, of shape `[1]`. Of shape `[1, count]`.
pub(crate) fn of_entries(
    count: i64,
    [first, end]: [&Tensor; 2],
    place: (Kind, Device),
) -> Result<Tensor, TchError> {
    let entries = Tensor::f_arange(count, (Kind::Int64, place.1))?;
    let hidden = entries
        .f_lt_tensor(first)?
        .f_logical_or_(&entries.f_ge_tensor(end)?)?;
    additive(&hidden.f_unsqueeze(0)?, place)
}

/// Minus infinity where `hidden`, else 0.
fn additive(hidden: &Tensor, place: (Kind, Device)) -> Result<Tensor, TchError> {
    Tensor::f_zeros(hidden.size(), place)?.f_masked_fill_(hidden, f64::NEG_INFINITY)
}

#[cfg(test)]
mod tests {
    use mlxbench_conformance::masks;

    use super::*;

    const PLACE: (Kind, Device) = (Kind::Float, Device::Cpu);

    #[test]
    fn masks_are_those_written_out_by_hand() {
        for mut case in masks::cases() {
            let mask = of_pass(&case.pass, 2, PLACE).unwrap().unwrap();
            assert_eq!(mask.stride()[0] % ALIGNED as i64, 0);
            let made = Vec::<f32>::try_from(mask.reshape([-1])).unwrap();
            let expected = case.additive();
            assert_eq!(made, [&expected[..], &expected].concat(), "{:?}", case.pass);
            case.pass.mask = pass::Mask::None;
            assert!(of_pass(&case.pass, 2, PLACE).unwrap().is_none());
        }
    }

    #[test]
    fn a_token_sees_the_entries_between_two_that_the_device_knows() {
        let [first, end] = [2_i64, 4].map(|at| Tensor::from_slice(&[at]));
        let mask = of_entries(5, [&first, &end], PLACE).unwrap();
        let hidden = f32::NEG_INFINITY;
        assert_eq!(mask.size(), [1, 5]);
        assert_eq!(
            Vec::<f32>::try_from(mask.view([-1])).unwrap(),
            [hidden, hidden, 0.0, 0.0, hidden]
        );
    }
}
