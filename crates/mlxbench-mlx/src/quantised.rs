//! Weights as codes, in the layout of MLX's quantised products: groups of codes `q` without a sign, each with
//! a scale `s` and a bias `b`, so that a weight is `s q + b`.

use std::collections::BTreeMap;

use mlx_rs::error::{Exception, Result};
use mlx_rs::ops::indexing::{TryIndexMutOp, TryIndexOp};
use mlx_rs::ops::{concatenate, dequantize, gather_qmm, quantized_matmul, zeros_dtype};
use mlx_rs::{Array, Dtype as MlxDtype, Stream, with_stream};
use mlxbench_core::checkpoint::{Affine, Packed, Tensor};
use mlxbench_core::quantise::Codes;
use mlxbench_core::{Checkpoint, Dtype, Error, GemmaConfig, Scheme, numbers};

use crate::weights::{self, axis, evaluated};

/// Weights of a group, as MLX allows them, best first. A group has a scale of its own, so ours are repeated.
const GROUPS: [usize; 3] = [128, 64, 32];

/// The largest finite number of f16.
const LARGEST_F16: f32 = 65504.0;

/// How a model's matrices are kept and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// `None` where matrices stay as mlx-lm packed them.
    pub(crate) scheme: Option<Scheme>,
    /// The dtype of products with codes, and so of scales and biases.
    pub(crate) dtype: Dtype,
}

/// The codes of a scheme as MLX has them.
#[derive(Debug, Clone, Copy)]
struct Format {
    bits: usize,
    /// The code that MLX calls 0.
    first: i16,
}

impl Format {
    fn of(scheme: Scheme) -> Self {
        let (bits, first) = match scheme {
            Scheme::Q8 => (8, -128),
            Scheme::Q4 => (4, -8),
        };
        Self { bits, first }
    }

    /// Codes of a word.
    fn codes(self) -> usize {
        u32::BITS as usize / self.bits
    }
}

/// Weights of a group for rows of `columns`: the most that share a scale of `scheme`, too. `None` where a row
/// isn't whole groups.
fn group(scheme: Scheme, columns: usize) -> Option<usize> {
    let block = scheme.block(columns);
    let mut groups = GROUPS.into_iter();
    groups.find(|&group| columns.is_multiple_of(group) && block.is_multiple_of(group))
}

/// Checks that every matrix of `config` can be laid out in groups.
///
/// # Errors
/// [`Error::Unsupported`], naming the first tensor that can't.
pub(crate) fn check_shapes(config: &GemmaConfig, scheme: Scheme) -> mlxbench_core::Result<()> {
    for tensor in config.tensors() {
        if let &[.., rows, columns] = tensor.shape.as_slice()
            && group(scheme.of_tensor(&tensor.name), columns).is_none()
        {
            return Err(Error::Unsupported(format!(
                "MLX keeps quantised weights in groups of 32, 64 or 128, and the {columns} columns of `{}`, \
                 of shape [{rows}, {columns}], aren't whole groups",
                tensor.name
            )));
        }
    }
    Ok(())
}

/// Words, the first code in the lowest bits, and the scale of each group. See `quantize` in MLX's
/// documentation.
fn pack(codes: &Codes, group: usize) -> (Vec<u32>, Vec<f32>) {
    let format = Format::of(codes.scheme);
    let Format { bits, first } = format;
    let words = codes.codes.chunks(format.codes());
    let words = words.map(|word| {
        let word = word.iter().rev();
        word.fold(0, |word, &code| {
            word << bits | (i16::from(code) - first) as u32
        })
    });
    let block = codes.scheme.block(codes.columns);
    let scales = codes.scales.chunks(codes.blocks());
    let scales = scales.flat_map(|row| {
        let starts = (0..codes.columns).step_by(group);
        starts.map(move |start| row[start / block].to_f32())
    });
    (words.collect(), scales.collect())
}

/// A matrix of codes. A clone shares them.
#[derive(Debug, Clone)]
pub(crate) struct Quantised {
    /// Shape `[out_features, in_features / codes of a word]`, u32.
    words: Array,
    /// Shape `[out_features, in_features / group]`, in the dtype of products.
    scales: Array,
    /// As `scales`.
    biases: Array,
    format: Format,
    group: i32,
}

impl Quantised {
    /// The rows of all matrices called `names`, one below the other, in the codes of `scheme`, multiplied in
    /// `dtype`. A matrix is packed as its codes come, so that it isn't held in full precision,
    /// unless mlx-lm packed it.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        names: &[impl AsRef<str>],
        columns: usize,
        scheme: Scheme,
        dtype: Dtype,
    ) -> Result<Self> {
        // Tensors of one product are of one kind.
        let kept = scheme.of_tensor(names[0].as_ref());
        let names = names.iter().map(AsRef::as_ref);
        let total = names
            .clone()
            .map(|name| checkpoint.elements(name) as u64 / columns as u64);
        let shape = [total.sum::<u64>(), columns as u64];
        let mut matrix = Self::empty(kept, shape, dtype)?;
        let mut start = 0;
        for name in names {
            for codes in checkpoint.codes(name, scheme) {
                let codes = codes.map_err(|error| Exception::custom(error.to_string()))?;
                let written = matrix.write(start, &codes);
                start = written.map_err(|error| named(name, &error))?;
            }
        }
        Ok(matrix)
    }

    /// A matrix as mlx-lm packed it, multiplied in `dtype`.
    pub(crate) fn packed(packed: &Packed<'_>, dtype: Dtype) -> Result<Self> {
        let Affine { bits, group_size } = packed.affine;
        let groups = packed.columns / group_size;
        let width = (packed.columns * bits / u32::BITS as usize) as u64;
        let rows = packed.words.bytes().len() as u64 / (4 * width);
        let of = |tensor: &Tensor<'_>, columns: u64, kind| {
            let shape = [axis(rows)?, axis(columns)?];
            let bytes = tensor.bytes();
            // SAFETY: the bytes are as many as shape and dtype ask for, which the checkpoint has checked, and MLX
            // copies them.
            evaluated(unsafe { Array::from_raw_data(bytes.as_ptr().cast(), &shape, kind) })
        };
        let scaled = |tensor: &Tensor<'_>| {
            // Rounded scales would be other weights.
            if dtype != Dtype::F32 && dtype != tensor.dtype() {
                return Err(Exception::custom(format!(
                    "the checkpoint's scales are {0}, which {dtype} doesn't hold: write native-{0} or native-f32",
                    tensor.dtype()
                )));
            }
            let stored = of(tensor, groups as u64, weights::dtype(tensor.dtype()))?;
            evaluated(stored.as_dtype(weights::dtype(dtype))?)
        };
        Ok(Self {
            words: of(&packed.words, width, MlxDtype::Uint32)?,
            scales: scaled(&packed.scales)?,
            biases: scaled(&packed.biases)?,
            format: Format { bits, first: 0 },
            group: group_size as i32,
        })
    }

    /// This matrix and the rows of `below`, where both are packed alike.
    pub(crate) fn above(&self, below: &Self) -> Result<Option<Self>> {
        if (self.format.bits, self.group) != (below.format.bits, below.group) {
            return Ok(None);
        }
        let both = |a: &Array, b: &Array| evaluated(concatenate(&[a, b], 0)?);
        Ok(Some(Self {
            words: both(&self.words, &below.words)?,
            scales: both(&self.scales, &below.scales)?,
            biases: both(&self.biases, &below.biases)?,
            ..*self
        }))
    }

    /// `codes`, multiplied in `dtype`.
    pub(crate) fn of(codes: &Codes, dtype: Dtype) -> Result<Self> {
        let mut matrix = Self::empty(
            codes.scheme,
            [codes.rows() as u64, codes.columns as u64],
            dtype,
        )?;
        matrix.write(0, codes)?;
        Ok(matrix)
    }

    /// Room for the codes of a matrix of `[rows, columns]`.
    fn empty(scheme: Scheme, [rows, columns]: [u64; 2], dtype: Dtype) -> Result<Self> {
        let format = Format::of(scheme);
        let group = group(scheme, columns as usize)
            .ok_or_else(|| Exception::custom(format!("{columns} columns aren't whole groups")))?;
        let room = |columns, dtype| zeros_dtype(&[axis(rows)?, axis(columns)?], dtype);
        let groups = columns / group as u64;
        let dtype = weights::dtype(dtype);
        Ok(Self {
            words: room(columns / format.codes() as u64, MlxDtype::Uint32)?,
            scales: room(groups, dtype)?,
            biases: room(groups, dtype)?,
            format,
            group: group as i32,
        })
    }

    /// Puts `codes` in place of the rows from `start` on, and gives the row that follows.
    fn write(&mut self, start: i32, codes: &Codes) -> Result<i32> {
        let (words, scales) = pack(codes, self.group as usize);
        // Exact in every dtype, for core's scales are numbers of all of them and this is a power of two.
        let first = f32::from(self.format.first);
        let biases: Vec<f32> = scales.iter().map(|scale| scale * first).collect();
        let largest = biases
            .iter()
            .fold(0.0_f32, |most, bias| most.max(bias.abs()));
        if self.scales.dtype() == MlxDtype::Float16 && largest > LARGEST_F16 {
            return Err(Exception::custom(format!(
                "a bias of MLX's groups would be {largest}, which f16 can't hold: use bf16 or f32"
            )));
        }
        let count = axis(codes.rows() as u64)?;
        let end = start + count;
        let words = Array::from_slice(&words, &[count, self.words.dim(1)]);
        self.words.try_index_mut(start..end, words)?;
        for (all, new) in [(&mut self.scales, scales), (&mut self.biases, biases)] {
            let new = Array::from_slice(&new, &[count, all.dim(1)]);
            all.try_index_mut(start..end, new.as_dtype(all.dtype())?)?;
        }
        mlx_rs::transforms::eval([&self.words, &self.scales, &self.biases])?;
        Ok(end)
    }

    /// Rows of it.
    pub(crate) fn rows(&self) -> i32 {
        self.words.dim(0)
    }

    /// Its rows from `first` on, of the same memory.
    pub(crate) fn rows_from(&self, first: i32) -> Result<Self> {
        let rows = |array: &Array| evaluated(array.try_index(first..)?);
        Ok(Self {
            words: rows(&self.words)?,
            scales: rows(&self.scales)?,
            biases: rows(&self.biases)?,
            ..*self
        })
    }

    /// `x W^T` for `x` of shape `[batch, tokens, in_features]`, in its dtype.
    pub(crate) fn product(&self, x: &Array) -> Result<Array> {
        let y = quantized_matmul(
            x.as_dtype(self.scales.dtype())?,
            &self.words,
            &self.scales,
            &self.biases,
            true,
            self.group,
            self.format.bits as i32,
        )?;
        y.as_dtype(x.dtype())
    }

    /// As `count` matrices that lie below one another in this one, of the same memory.
    pub(crate) fn parted(&self, count: i32) -> Result<Self> {
        let each = |array: &Array| array.reshape(&[count, -1, array.dim(1)]);
        Ok(Self {
            words: each(&self.words)?,
            scales: each(&self.scales)?,
            biases: each(&self.biases)?,
            ..*self
        })
    }

    /// `x W^T` with those matrices of [`Quantised::parted`] that `indices` name: see
    /// [`Gathered::product`](crate::linear::Gathered::product).
    pub(crate) fn gathered_product(
        &self,
        x: &Array,
        indices: &Array,
        sorted: bool,
    ) -> Result<Array> {
        let y = gather_qmm(
            x.as_dtype(self.scales.dtype())?,
            &self.words,
            &self.scales,
            &self.biases,
            None,
            indices,
            true,
            self.group,
            self.format.bits as i32,
            sorted,
        )?;
        y.as_dtype(x.dtype())
    }

    /// The rows `ids`, of shape `[batch, tokens]`, dequantised, in `dtype`. Shape
    /// `[batch, tokens, in_features]`. For our codes MLX's sum `s q + b` is exact in f32 and nowhere else: rounded to 16
    /// bits, `s q` is off by up to half a code of 8 bits.
    pub(crate) fn lookup(&self, ids: &Array, dtype: MlxDtype) -> Result<Array> {
        let exact = |array: &Array| array.take_axis(ids, 0)?.as_dtype(MlxDtype::Float32);
        let (scales, biases) = (exact(&self.scales)?, exact(&self.biases)?);
        let words = self.words.take_axis(ids, 0)?;
        dequantize(words, scales, &biases, self.group, self.format.bits as i32)?.as_dtype(dtype)
    }

    /// Bytes of words, scales and biases, which a product reads.
    pub(crate) fn bytes(&self) -> u64 {
        let arrays = [&self.words, &self.scales, &self.biases];
        arrays.map(|array| array.nbytes() as u64).iter().sum()
    }
}

fn named(tensor: &str, error: &Exception) -> Exception {
    Exception::custom(format!("tensor `{tensor}`: {}", error.what()))
}

/// How a model with quantised weights is computed in `compute`: a way for each part.
pub(crate) fn kernels(way: Way, compute: Dtype) -> BTreeMap<String, String> {
    let converted = match way.dtype == compute {
        true => String::new(),
        false => format!(" in {}, from and to {compute}", way.dtype),
    };
    let kernels = [("quantised product", format!("quantized_matmul{converted}"))];
    kernels.map(|(part, way)| (part.to_owned(), way)).into()
}

/// How `stream` multiplies by the codes of `scheme`, or by those that mlx-lm packed, in a model in `compute`, seen
/// by trying: in `compute` where MLX does it right, else in f32. MLX's CPU kernels for 16 bits sum up in 16 bits,
/// and on x86 take ten times as long as those for f32 and more.
///
/// # Errors
/// Why neither can be used, in MLX's words where it has any.
pub(crate) fn way(stream: &Stream, scheme: Option<Scheme>, compute: Dtype) -> Result<Way> {
    let tried = |dtype| {
        let way = Way { scheme, dtype };
        with_stream(stream, || try_products(way, compute)).map(|()| way)
    };
    tried(compute).or_else(|reason| match compute {
        Dtype::F32 => Err(reason),
        _ => tried(Dtype::F32).map_err(|_| reason),
    })
}

/// Tries a table and a matrix of a layer. MLX's kernels differ by group, by whether columns divide by 512, and
/// by the count of rows.
///
/// # Errors
/// MLX's own, or what is wrong.
fn try_products(way: Way, compute: Dtype) -> Result<()> {
    let schemes = match way.scheme {
        Some(Scheme::Q8) => &[Scheme::Q8][..],
        // Of the packings that mlx-lm knows, only these two are tried.
        Some(Scheme::Q4) | None => &[Scheme::Q4, Scheme::Q8],
    };
    for &scheme in schemes {
        for columns in [1024, 640, 960, 992] {
            Trial::new(scheme, columns).run(way.dtype, compute)?;
        }
    }
    Ok(())
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

    /// Compares products in `dtype`, from and to `compute`, and a lookup.
    fn run(&self, dtype: Dtype, compute: Dtype) -> Result<()> {
        let matrix = Quantised::of(&self.codes, dtype)?;
        let columns = self.codes.columns;
        for rows in [1, 33] {
            let x: Vec<f32> = numbers(2).take(rows * columns).collect();
            let x = Array::from_slice(&x, &[1, rows as i32, columns as i32]);
            let x = x.as_dtype(weights::dtype(compute))?;
            let product = on_host(&matrix.product(&x)?)?;
            let x = on_host(&x)?;
            let expected = x.chunks(columns).flat_map(|x| {
                let weights = self.weights.chunks(columns);
                weights.map(move |w| w.iter().zip(x).map(|(w, x)| f64::from(w * x)).sum())
            });
            check("product", &product, expected, compute)?;
        }
        let ids = [3_u32, 0, Self::OUTPUTS as u32 - 1];
        let lookup = matrix.lookup(&Array::from_slice(&ids, &[1, 3]), weights::dtype(compute))?;
        let rows = ids.map(|id| &self.weights[id as usize * columns..][..columns]);
        let expected = rows.into_iter().flatten().map(|&w| f64::from(w));
        check("lookup", &on_host(&lookup)?, expected, compute)
    }
}

/// Fails where `numbers` are too far from those expected, over all of them.
fn check(
    what: &str,
    numbers: &[f32],
    expected: impl Iterator<Item = f64>,
    dtype: Dtype,
) -> Result<()> {
    let (mut off, mut size) = (0.0, 0.0);
    for (&number, expected) in numbers.iter().zip(expected) {
        off += (f64::from(number) - expected).powi(2);
        size += expected.powi(2);
    }
    let off = (off / size).sqrt();
    let within = tolerance(dtype);
    // Not a number is wrong, too.
    match off <= within {
        true => Ok(()),
        false => Err(Exception::custom(format!(
            "a quantised {what} is off by {off:.1e} of its size, and rounding to {dtype} explains {within:.1e} at \
             most: MLX's kernel is wrong here"
        ))),
    }
}

/// How far a right product is off at most, as a share of its size (root mean square). MLX's kernels for Metal
/// sum up in f32, and for many rows dequantise in the dtype of the product (`quantized.h`): with 16 bits and
/// normal weights that was computed to be 1.7 times the largest rounding error of one number. Sums in 16 bits,
/// as on the CPU, were seen to be off by 6.5 to 14 times that for 640 to 2048 columns.
fn tolerance(dtype: Dtype) -> f64 {
    let rounding = match dtype {
        Dtype::F32 => 2.0_f64.powi(-24),
        Dtype::Bf16 => 2.0_f64.powi(-8),
        Dtype::F16 => 2.0_f64.powi(-11),
    };
    // Sums in f32 are off by less than 1e-6, and those in TF32 by more than 1e-4.
    4.0 * rounding + 1e-5
}

fn on_host(array: &Array) -> Result<Vec<f32>> {
    let array = array.contiguous()?;
    let numbers = array.to_vec_cast();
    numbers.map_err(|error| Exception::custom(error.to_string()))
}

#[cfg(test)]
mod tests {
    use mlxbench_core::gemma::preset;

    use super::*;

    fn on_the_cpu<T>(work: impl FnOnce() -> Result<T>) -> T {
        with_stream(&Stream::cpu(), work).unwrap()
    }

    fn random(scheme: Scheme, rows: usize, columns: usize) -> Codes {
        let weights: Vec<f32> = numbers(7).take(rows * columns).collect();
        Codes::of(scheme, &weights, columns).unwrap()
    }

    #[test]
    fn words_hold_the_first_code_in_their_lowest_bits() {
        let mut codes = random(Scheme::Q4, 1, 32);
        codes.codes[..8].copy_from_slice(&[-8, -7, -6, 0, 1, 5, 6, 7]);
        assert_eq!(pack(&codes, 32).0[0], 0xfed9_8210);
        let mut codes = random(Scheme::Q8, 1, 32);
        codes.codes[..4].copy_from_slice(&[-127, 0, 1, 127]);
        assert_eq!(pack(&codes, 32).0[0], 0xff81_8001);
    }

    #[test]
    fn scales_are_repeated_where_groups_are_shorter_than_blocks() {
        let codes = random(Scheme::Q4, 2, 96);
        let [first, short, third, fourth] = [0, 1, 2, 3].map(|at| codes.scales[at].to_f32());
        let scales = pack(&codes, 32).1;
        assert_eq!(scales, [first, first, short, third, third, fourth]);
    }

    #[test]
    fn groups_are_as_long_as_rows_and_scales_let_them() {
        for (scheme, columns, expected) in [
            (Scheme::Q8, 640, Some(128)),
            (Scheme::Q8, 192, Some(64)),
            (Scheme::Q8, 96, Some(32)),
            (Scheme::Q8, 16, None),
            (Scheme::Q4, 640, Some(64)),
            (Scheme::Q4, 96, Some(32)),
            (Scheme::Q4, 72, None),
        ] {
            assert_eq!(group(scheme, columns), expected, "{scheme:?}, {columns}");
        }
    }

    /// Zeros of either sign are equal: MLX's sums know only one.
    #[test]
    fn mlx_dequantises_to_the_weights_that_the_codes_stand_for() {
        let ids = Array::from_slice(&[0_u32, 1, 2, 3, 4], &[1, 5]);
        for columns in [32, 64, 96, 128, 640] {
            for scheme in [Scheme::Q8, Scheme::Q4] {
                let codes = random(scheme, 5, columns);
                let expected: Vec<f32> = codes.dequantised().collect();
                for dtype in Dtype::ALL {
                    let dequantised = on_the_cpu(|| {
                        let matrix = Quantised::of(&codes, dtype)?;
                        on_host(&matrix.lookup(&ids, MlxDtype::Float32)?)
                    });
                    assert_eq!(dequantised, expected, "{scheme:?}, {columns}, {dtype}");
                }
            }
        }
    }

    #[test]
    fn looked_up_rows_are_rounded_once() {
        let codes = random(Scheme::Q8, 5, 96);
        let weights: Vec<f32> = codes.dequantised().collect();
        let [first, last] = [&weights[..96], &weights[4 * 96..]];
        let expected = [last, first, last].concat();
        let ids = Array::from_slice(&[4_u32, 0, 4], &[3, 1]);
        let (rows, rounded) = on_the_cpu(|| {
            let matrix = Quantised::of(&codes, Dtype::Bf16)?;
            let rows = matrix.lookup(&ids, MlxDtype::Bfloat16)?;
            assert_eq!(rows.dtype(), MlxDtype::Bfloat16);
            assert_eq!(rows.shape(), [3, 1, 96]);
            let expected = Array::from_slice(&expected, &[3 * 96]);
            Ok((
                on_host(&rows)?,
                on_host(&expected.as_dtype(MlxDtype::Bfloat16)?)?,
            ))
        });
        assert_eq!(rows, rounded);
    }

    #[test]
    fn rows_from_the_middle_give_the_last_outputs() {
        for scheme in [Scheme::Q8, Scheme::Q4] {
            let (all, last) = on_the_cpu(|| {
                let matrix = Quantised::of(&random(scheme, 9, 128), Dtype::F32)?;
                let x: Vec<f32> = numbers(8).take(3 * 128).collect();
                let x = Array::from_slice(&x, &[1, 3, 128]);
                let last = matrix.rows_from(4)?.product(&x)?;
                assert_eq!(last.shape(), [1, 3, 5]);
                Ok((on_host(&matrix.product(&x)?)?, on_host(&last)?))
            });
            let expected: Vec<f32> = all.chunks(9).flat_map(|row| &row[4..]).copied().collect();
            assert_eq!(last, expected, "{scheme:?}");
        }
    }

    #[test]
    fn bytes_are_those_of_words_scales_and_biases() {
        for (scheme, dtype, expected) in [
            // A byte a code, 5 groups of 128 with a scale and a bias.
            (Scheme::Q8, Dtype::Bf16, 3 * (640 + 5 * 2 * 2)),
            // Half a byte a code, 10 groups of 64.
            (Scheme::Q4, Dtype::Bf16, 3 * (320 + 10 * 2 * 2)),
            (Scheme::Q4, Dtype::F32, 3 * (320 + 10 * 2 * 4)),
        ] {
            let matrix = on_the_cpu(|| Quantised::of(&random(scheme, 3, 640), dtype));
            assert_eq!(matrix.bytes(), expected, "{scheme:?}, {dtype}");
        }
    }

    #[test]
    fn a_bias_beyond_f16_is_an_error_in_f16_only() {
        let codes = Codes::of(Scheme::Q8, &[65_500.0; 32], 32).unwrap();
        for dtype in [Dtype::F32, Dtype::Bf16] {
            on_the_cpu(|| Quantised::of(&codes, dtype));
        }
        let error = with_stream(&Stream::cpu(), || Quantised::of(&codes, Dtype::F16));
        let message = error.unwrap_err().what().to_owned();
        assert!(message.contains("which f16 can't hold"), "{message}");
    }

    #[test]
    fn a_tensor_without_whole_groups_is_named() {
        let mut config = preset("gemma-3-270m").unwrap().config();
        assert!(check_shapes(&config, Scheme::Q4).is_ok());
        config.layers[3].mlp_width = 2056;
        let message = check_shapes(&config, Scheme::Q4).unwrap_err().to_string();
        let expected =
            "the 2056 columns of `model.layers.3.mlp.down_proj.weight`, of shape [640, 2056]";
        assert!(message.contains(expected), "{message}");
    }

    /// Codes of 4 bits in the wrong order are as large as those in the right one.
    #[test]
    fn a_wrong_kernel_is_seen_by_its_products_and_by_its_lookups() {
        let mut trial = Trial::new(Scheme::Q4, 640);
        on_the_cpu(|| trial.run(Dtype::F32, Dtype::F32));
        for pair in trial.codes.codes.chunks_mut(2) {
            pair.swap(0, 1);
        }
        let error = with_stream(&Stream::cpu(), || trial.run(Dtype::F32, Dtype::F32));
        let message = error.unwrap_err().what().to_owned();
        assert!(
            message.starts_with("a quantised product is off by"),
            "{message}"
        );
        let looked_up = check(
            "lookup",
            &[1.0, f32::NAN],
            [1.0, 0.0].into_iter(),
            Dtype::Bf16,
        );
        assert!(looked_up.is_err());
    }
}
