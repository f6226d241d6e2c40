//! AdamW, written out: `mlxbench_core::lora::Update` has the formula.

use mlx_rs::Array;
use mlx_rs::error::Result;
use mlxbench_core::lora::{BETAS, EPS};

/// What one step makes of `state`: matrices, then the running means of their gradients, then those of the squares, as
/// many of each as there are `gradients`. `numbers` are scalars, those of an [`Update`](mlxbench_core::lora::Update)
/// in its order: arrays, since a compiled step would keep others for ever.
pub(super) fn updated(
    numbers: &[Array],
    state: &[Array],
    gradients: &[Array],
) -> Result<Vec<Array>> {
    let [keep, rate, root] = numbers else {
        unreachable!("an update has three numbers");
    };
    let times = |x: &Array, by: f64| x.multiply(Array::from_f32(by as f32));
    let (matrices, means) = state.split_at(gradients.len());
    let (means, squares) = means.split_at(gradients.len());
    let mut new = [const { Vec::new() }; 3];
    for (index, gradient) in gradients.iter().enumerate() {
        let mean = times(&means[index], BETAS[0])?.add(times(gradient, 1.0 - BETAS[0])?)?;
        let squared = gradient.square()?;
        let square = times(&squares[index], BETAS[1])?.add(times(&squared, 1.0 - BETAS[1])?)?;
        let below = square
            .sqrt()?
            .multiply(root)?
            .add(Array::from_f32(EPS as f32))?;
        let step = mean.multiply(rate)?.divide(below)?;
        let matrix = matrices[index].multiply(keep)?.subtract(step)?;
        for (all, array) in new.iter_mut().zip([matrix, mean, square]) {
            all.push(array);
        }
    }
    Ok(new.concat())
}
