//! Weights as codes, in the blocks of candle's quantised products, which are llama.cpp's.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Error, Result, Tensor};
use half::f16;
use mlxbench_core::gemma::Activations;
use mlxbench_core::quantise::Codes;
use mlxbench_core::{Checkpoint, Dtype, GemmaConfig, Scheme, numbers};

use crate::weights;

/// Weights of a block. A block has a scale of its own, so ours are repeated.
const BLOCK: usize = 32;

/// The blocks that hold the codes of `scheme`.
fn format(scheme: Scheme) -> GgmlDType {
    match scheme {
        Scheme::Q8 => GgmlDType::Q8_0,
        Scheme::Q4 => GgmlDType::Q4_0,
    }
}

/// Checks that every matrix of `config` can be laid out in blocks.
///
/// # Errors
/// [`Unsupported`](mlxbench_core::Error::Unsupported), naming the first tensor that can't.
pub(crate) fn check_shapes(config: &GemmaConfig) -> mlxbench_core::Result<()> {
    for tensor in config.tensors() {
        if let &[.., rows, columns] = tensor.shape.as_slice()
            && columns % BLOCK != 0
        {
            return Err(mlxbench_core::Error::Unsupported(format!(
                "candle keeps quantised weights in blocks of {BLOCK}, and the {columns} columns of \
                 `{}`, of shape [{rows}, {columns}], aren't whole blocks",
                tensor.name
            )));
        }
    }
    Ok(())
}

/// Appends the rows of `codes` to `bytes`, block after block: the scale in f16, then 32 codes of 8 bits, or
/// 16 pairs of 4 bits with 8 added, of which the low one is in the first half of the block. See
/// `BlockQ8_0` and `BlockQ4_0` in candle's `quantized/k_quants.rs`.
fn pack(codes: &Codes, bytes: &mut Vec<u8>) {
    let shared = codes.scheme.block(codes.columns);
    let rows = codes.codes.chunks(codes.columns);
    for (row, scales) in rows.zip(codes.scales.chunks(codes.blocks())) {
        for (index, block) in row.chunks(BLOCK).enumerate() {
            // Exact: core's scales are numbers of both dtypes.
            let scale = f16::from_f32(scales[index * BLOCK / shared].to_f32());
            bytes.extend(scale.to_ne_bytes());
            match codes.scheme {
                Scheme::Q8 => bytes.extend(block.iter().map(|&code| code as u8)),
                Scheme::Q4 => {
                    let (low, high) = block.split_at(BLOCK / 2);
                    let nibble = |code: i8| (code + 8) as u8;
                    let pairs = low.iter().zip(high);
                    bytes.extend(pairs.map(|(&low, &high)| nibble(low) | nibble(high) << 4));
                }
            }
        }
    }
}

/// A matrix of codes, or some of its outputs.
#[derive(Debug, Clone)]
pub(crate) struct Quantised {
    /// Shape `[out_features, in_features]`.
    blocks: Arc<QTensor>,
    /// The outputs that are wanted.
    outputs: Range<usize>,
}

impl Quantised {
    /// The rows of all matrices called `names`, one below the other, in the codes of a model quantised by
    /// `scheme`. A matrix is packed as its codes come, so that it isn't held in full precision, unless mlx-lm
    /// packed it.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        names: &[impl AsRef<str>],
        scheme: Scheme,
        columns: usize,
        device: &Device,
    ) -> Result<Self> {
        // Tensors of one product are of one kind.
        let format = format(scheme.of_tensor(names[0].as_ref()));
        let names = names.iter().map(AsRef::as_ref);
        let elements = names.clone().map(|name| checkpoint.elements(name));
        let blocks = elements.sum::<usize>() / BLOCK;
        let mut bytes = Vec::with_capacity(blocks * format.type_size());
        for name in names {
            for codes in checkpoint.codes(name, scheme) {
                pack(&codes.map_err(Error::msg)?, &mut bytes);
            }
        }
        Self::of_bytes(bytes, format, columns, device)
    }

    /// The matrices below one another in the tensor called `name`, as many as `count`, each for itself: candle
    /// can't multiply by a part of one.
    pub(crate) fn load_each(
        checkpoint: &Checkpoint,
        name: &str,
        scheme: Scheme,
        [count, columns]: [usize; 2],
        device: &Device,
    ) -> Result<Vec<Self>> {
        let format = format(scheme.of_tensor(name));
        let mut bytes = Vec::new();
        for codes in checkpoint.codes(name, scheme) {
            pack(&codes.map_err(Error::msg)?, &mut bytes);
        }
        let each = bytes.chunks(bytes.len() / count);
        each.map(|bytes| Self::of_bytes(bytes.to_vec(), format, columns, device))
            .collect()
    }

    /// `codes` on `device`.
    pub(crate) fn of(codes: &Codes, device: &Device) -> Result<Self> {
        let mut bytes = Vec::new();
        pack(codes, &mut bytes);
        Self::of_bytes(bytes, format(codes.scheme), codes.columns, device)
    }

    fn of_bytes(
        bytes: Vec<u8>,
        format: GgmlDType,
        columns: usize,
        device: &Device,
    ) -> Result<Self> {
        let rows = bytes.len() / (columns / BLOCK * format.type_size());
        let storage = QStorage::from_data(Cow::Owned(bytes), device, format)?;
        Ok(Self::new(QTensor::new(storage, (rows, columns))?, rows))
    }

    /// A matrix of `rows` rows.
    pub(crate) fn new(blocks: QTensor, rows: usize) -> Self {
        Self {
            blocks: Arc::new(blocks),
            outputs: 0..rows,
        }
    }

    /// Rows of it.
    pub(crate) fn len(&self) -> usize {
        self.outputs.len()
    }

    /// So many of its outputs, from `first` on. candle can't multiply by a part of a matrix, so all outputs
    /// are computed and these are kept. Tensors of their own would cost every decoded token a second product
    /// a layer; this costs the last layer a part of its work, in chunks of a prompt only.
    pub(crate) fn rows(&self, first: usize, count: usize) -> Self {
        let start = self.outputs.start + first;
        Self {
            blocks: self.blocks.clone(),
            outputs: start..start + count,
        }
    }

    /// `x W^T` for `x` of shape `[rows, in_features]` and contiguous, in its dtype.
    pub(crate) fn product(&self, x: &Tensor) -> Result<Tensor> {
        let mut input = match in_f32(x.device()) {
            true => x.to_dtype(DType::F32)?,
            false => x.clone(),
        };
        // On Metal, candle's kernel for several rows reads from the start of the memory of a view (read from
        // `quantized/metal.rs`).
        if x.device().is_metal() && input.layout().start_offset() > 0 {
            input = input.force_contiguous()?;
        }
        // As candle's QMatMul does it, but that variables of the environment can't put dequantised weights
        // in place of these.
        let y = input.apply_op1_no_bwd(self.blocks.as_ref())?;
        let y = y.narrow(1, self.outputs.start, self.outputs.len())?;
        y.to_dtype(x.dtype())
    }

    /// What all of it stands for, in `dtype`. Shape `[out_features, in_features]`.
    pub(crate) fn dequantised(&self, dtype: DType) -> Result<Tensor> {
        let all = self.blocks.dequantize(&self.blocks.device())?;
        let wanted = all.narrow(0, self.outputs.start, self.outputs.len())?;
        wanted.to_dtype(dtype)
    }

    /// The rows `ids`, of shape `[tokens]`, dequantised, in `dtype`. Shape `[tokens, in_features]`.
    pub(crate) fn lookup(&self, ids: &Tensor, dtype: DType) -> Result<Tensor> {
        self.blocks.embedding(ids)?.to_dtype(dtype)
    }

    /// Bytes of its blocks. Not counted are 512 weights of padding on CUDA, which aren't read, and what candle's
    /// CPU kernels keep beside the blocks of some kinds from the first product on and then read in their place:
    /// the same in another order, of Q6_K also wider (`repack.rs`, `repack_x86.rs`).
    pub(crate) fn bytes(&self) -> u64 {
        self.blocks.storage_size_in_bytes() as u64
    }
}

/// Whether products take and give f32. On Metal candle takes nothing else, and doesn't notice; on the CPU its
/// product in f16 uses one thread, and the one in bf16 converts, too.
fn in_f32(device: &Device) -> bool {
    !device.is_cuda()
}

/// What candle does with activations in products with blocks: on the CPU and on CUDA it rounds them to 8
/// bits, in blocks with scales of their own (`k_quants.rs`, `repack.rs`; `fast_mmvq.rs`, `fast_mmq.rs`).
pub(crate) fn activations(device: &Device) -> Activations {
    match device {
        Device::Cpu | Device::Cuda(_) => Activations::Int8,
        Device::Metal(_) => Activations::Kept,
    }
}

/// How a model with quantised weights is computed in `dtype`: a way for each part.
pub(crate) fn kernels(device: &Device, dtype: DType) -> BTreeMap<String, String> {
    let mut product = "QMatMul".to_owned();
    if in_f32(device) && dtype != DType::F32 {
        product += &format!(" in f32, from and to {}", dtype.as_str());
    }
    let mut kernels = BTreeMap::new();
    if device.is_metal() {
        // `kernel_mul_mm` and `dequantize_q8_0` of candle's `quantized.metal`.
        product += "; with weights rounded to f16 for several rows";
        kernels.insert("embedding lookup".into(), "rounded to f16".into());
    }
    kernels.insert("quantised product".into(), product);
    kernels
}

/// Why `device` can't use the codes of `scheme` in `dtype`, seen by trying; `None` when it can.
pub(crate) fn unusable(device: &Device, scheme: Scheme, dtype: Dtype) -> Option<String> {
    // Kernels differ by whether columns divide by 256, and by the count of rows.
    let tried = [(64, 1), (64, 9), (256, 1), (256, 9)]
        .into_iter()
        .try_for_each(|(columns, rows)| {
            let wrong = Trial::new(scheme, columns).wrong(rows, weights::dtype(dtype), device)?;
            wrong.map_or(Ok(()), |wrong| Err(Error::msg(wrong)))
        });
    tried.err().map(|error| error.to_string())
}

/// A matrix whose products are known.
struct Trial {
    codes: Codes,
    /// What they stand for, row after row.
    weights: Vec<f32>,
}

impl Trial {
    /// Rows of the matrix.
    const OUTPUTS: usize = 32;

    fn new(scheme: Scheme, columns: usize) -> Self {
        let weights: Vec<f32> = numbers(1).take(Self::OUTPUTS * columns).collect();
        let codes = Codes::of(scheme, &weights, columns).expect("finite weights");
        Self {
            weights: codes.dequantised().collect(),
            codes,
        }
    }

    /// What is wrong with a product of so many rows, and with a lookup.
    fn wrong(&self, rows: usize, dtype: DType, device: &Device) -> Result<Option<String>> {
        let columns = self.codes.columns;
        let matrix = Quantised::of(&self.codes, device)?;
        let x: Vec<f32> = numbers(2).take(rows * columns).collect();
        let x = Tensor::from_vec(x, (rows, columns), device)?.to_dtype(dtype)?;
        let product = on_host(&matrix.product(&x)?)?;
        let x = on_host(&x)?;
        let outputs = x.chunks(columns).flat_map(|x| {
            let weights = self.weights.chunks(columns);
            weights.map(move |w| Expected::product(w, x))
        });
        let ids = [3_u32, 0, Self::OUTPUTS as u32 - 1];
        let lookup = matrix.lookup(&Tensor::new(&ids, device)?, dtype)?;
        let looked_up = ids.iter().flat_map(|&id| {
            let row = &self.weights[id as usize * columns..][..columns];
            row.iter().map(|&w| Expected::lookup(w))
        });
        let product = wrong("product", &product, outputs);
        Ok(product.or(wrong("lookup", &on_host(&lookup)?, looked_up)))
    }
}

/// A number, and how far from it is right.
struct Expected {
    value: f32,
    within: f32,
}

impl Expected {
    /// Half a step of a code of 8 bits for numbers up to 1, the rounding of its scale to f16, and that of the
    /// weights; then that of the result to 16 bits.
    fn product(weights: &[f32], x: &[f32]) -> Self {
        let step = 0.5 / 127.0 + 2.0_f32.powi(-10);
        let value: f32 = weights.iter().zip(x).map(|(w, x)| w * x).sum();
        let sum: f32 = weights.iter().map(|w| w.abs()).sum();
        Self {
            value,
            within: step * sum + 2.0_f32.powi(-8) * value.abs(),
        }
    }

    /// The rounding to 16 bits.
    fn lookup(weight: f32) -> Self {
        Self {
            value: weight,
            within: 2.0_f32.powi(-8) * weight.abs(),
        }
    }
}

/// The first of `numbers` that isn't as expected, in words.
fn wrong(what: &str, numbers: &[f32], expected: impl Iterator<Item = Expected>) -> Option<String> {
    let mut pairs = numbers.iter().zip(expected);
    // Not a number is wrong, too.
    let wrong = pairs.find(|(number, expected)| {
        let off = (**number - expected.value).abs();
        off.is_nan() || off > expected.within
    });
    wrong.map(|(number, Expected { value, within })| {
        format!(
            "a quantised {what} gave {number} in place of {value}, more than {within} off: candle's \
             kernel is wrong here"
        )
    })
}

fn on_host(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: &Device = &Device::Cpu;

    fn random(scheme: Scheme, rows: usize, columns: usize) -> (Codes, Quantised) {
        let weights: Vec<f32> = numbers(7).take(rows * columns).collect();
        let codes = Codes::of(scheme, &weights, columns).unwrap();
        let matrix = Quantised::of(&codes, CPU).unwrap();
        (codes, matrix)
    }

    fn bits(numbers: impl IntoIterator<Item = f32>) -> Vec<u32> {
        numbers.into_iter().map(f32::to_bits).collect()
    }

    #[test]
    fn candle_dequantises_to_the_weights_that_the_codes_stand_for() {
        // The last block of 64 may be of 32.
        for columns in [32, 64, 96, 256, 640] {
            for scheme in [Scheme::Q8, Scheme::Q4] {
                let (codes, matrix) = random(scheme, 5, columns);
                let dequantised = on_host(&matrix.dequantised(DType::F32).unwrap()).unwrap();
                assert_eq!(bits(dequantised), bits(codes.dequantised()), "{columns}");
            }
        }
    }

    #[test]
    fn looked_up_rows_are_the_dequantised_ones() {
        for scheme in [Scheme::Q8, Scheme::Q4] {
            let (codes, matrix) = random(scheme, 5, 96);
            let ids = Tensor::new(&[4_u32, 0, 4], CPU).unwrap();
            let rows = on_host(&matrix.lookup(&ids, DType::F32).unwrap()).unwrap();
            let weights: Vec<f32> = codes.dequantised().collect();
            let [first, last] = [&weights[..96], &weights[4 * 96..]];
            assert_eq!(bits(rows), bits([last, first, last].concat()));
        }
    }

    /// As `k_quants::matmul` has it: a scale in f16 for each 32 activations.
    fn rounded_to_eight_bits(x: &[f32]) -> Vec<f32> {
        let blocks = x.chunks(BLOCK).flat_map(|block| {
            let largest = block.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            let step = largest / 127.0;
            let kept = f16::from_f32(step).to_f32();
            block.iter().map(move |x| (x / step).round() * kept)
        });
        blocks.collect()
    }

    #[test]
    fn a_product_on_the_cpu_rounds_activations_to_eight_bits_and_nothing_else() {
        for (scheme, columns) in [(Scheme::Q8, 96), (Scheme::Q4, 96), (Scheme::Q4, 640)] {
            let (codes, matrix) = random(scheme, 7, columns);
            let weights: Vec<f32> = codes.dequantised().collect();
            for rows in [1, 3] {
                let x: Vec<f32> = numbers(8).take(rows * columns).collect();
                let x = Tensor::from_vec(x, (rows, columns), CPU).unwrap();
                let product = on_host(&matrix.product(&x).unwrap()).unwrap();
                let x = rounded_to_eight_bits(&on_host(&x).unwrap());
                let expected = x.chunks(columns).flat_map(|x| {
                    let rows = weights.chunks(columns);
                    rows.map(move |w| w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>())
                });
                for (number, expected) in product.iter().zip(expected) {
                    assert!((number - expected).abs() < 1e-4, "{number} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_part_of_the_outputs_is_that_part_of_all() {
        let (_, matrix) = random(Scheme::Q4, 12, 64);
        let x = Tensor::randn(0_f32, 1.0, (2, 64), CPU).unwrap();
        let all = matrix.product(&x).unwrap();
        let part = matrix.rows(3, 8).rows(1, 5).product(&x).unwrap();
        let expected = all.narrow(1, 4, 5).unwrap();
        assert_eq!(on_host(&part).unwrap(), on_host(&expected).unwrap());
    }

    #[test]
    fn products_keep_the_dtype_of_their_input() {
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let (_, matrix) = random(Scheme::Q8, 4, 32);
            let x = Tensor::ones((1, 32), dtype, CPU).unwrap();
            assert_eq!(matrix.product(&x).unwrap().dtype(), dtype);
        }
    }

    #[test]
    fn a_trial_finds_every_precision_usable_and_wrong_numbers_wrong() {
        for scheme in [Scheme::Q8, Scheme::Q4] {
            for dtype in Dtype::ALL {
                assert_eq!(unusable(CPU, scheme, dtype), None);
            }
            let mut trial = Trial::new(scheme, 64);
            for code in &mut trial.codes.codes[64..] {
                *code = -(*code).max(-7);
            }
            let wrong = trial.wrong(1, DType::F32, CPU).unwrap().unwrap();
            assert!(wrong.contains("kernel is wrong here"), "{wrong}");
        }
        let nan = [Expected::lookup(1.0)].into_iter();
        assert!(wrong("lookup", &[f32::NAN], nan).is_some());
    }
}
