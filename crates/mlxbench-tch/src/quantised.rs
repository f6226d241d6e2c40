//! Weight matrices as codes with scales, laid out as libtorch's products take them.

mod dense;
mod trial;

use std::collections::BTreeMap;

use mlxbench_core::backend::OWN_KERNEL;
use mlxbench_core::gemma::Activations;
use mlxbench_core::quantise::{Codes, Q4_BLOCK};
use mlxbench_core::{Error, GemmaConfig, Result, Scheme};
use tch::{Device, Kind, TchError, Tensor};

use crate::linear::bytes;

use dense::AT_ONCE;
pub(crate) use trial::try_all;

/// Weights that share a scale in q4.
const BLOCK: i64 = Q4_BLOCK as i64;

/// Rows that any of libtorch's 4-bit kernels keeps together at most: slices begin at multiples of it. Source:
/// `int4mm_kernel.cpp`, 64 with AVX-512, 32 with AVX2, 16 elsewhere; 8 on CUDA and MPS.
const TILE: i64 = 64;

/// What becomes of activations in all of [`Kernel`].
pub(crate) const ACTIVATIONS: Activations = Activations::Kept;

/// A product with quantised weights, which decides their layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// `_weight_int8pack_mm`: codes i8 of shape `[rows, columns]`, scales of shape `[rows]` in the dtype of
    /// activations. Sources: `int8mm_kernel.cpp`, `int8mm.cu`, `Quantized.metal`.
    Int8Pack,
    /// `_weight_int4pack_mm` of CUDA and MPS: what `_convert_weight_to_int4pack` makes of pairs of codes,
    /// and scales with zeros of shape `[blocks, rows, 2]` in the dtype of activations, for
    /// `w = (code + 8 - 8) * scale + zero`. Sources: `int4mm.cu`, `Quantized.metal`.
    Int4Pack,
    /// `_weight_int4pack_mm_for_cpu`: the same of `_convert_weight_to_int4pack_for_cpu`. Source:
    /// `int4mm_kernel.cpp`.
    Int4PackForCpu,
    /// The product in f32 with weights that are dequantised for it, some rows at a time: codes i8 as above,
    /// or a byte for two codes, 32 columns apart, of shape `[rows, columns / 2]`; scales in f32 of shape
    /// `[rows, blocks]`.
    Dequantised(Scheme),
}

impl Kernel {
    /// The one for weights of `scheme` and activations of a dtype on a device: libtorch's own, but where it
    /// has only plain loops. On x86 those are all but bf16's (`int8mm_kernel.cpp`, `int4mm_kernel.cpp`):
    /// they take 2 to 25 times as long as to dequantise first (AVX2, one thread, 640 columns, 1 to 32 rows).
    pub(crate) fn of(scheme: Scheme, (kind, device): (Kind, Device)) -> Self {
        let plain_loops = cfg!(target_arch = "x86_64") && kind != Kind::BFloat16;
        match (scheme, device) {
            (_, Device::Cpu) if plain_loops => Self::Dequantised(scheme),
            (Scheme::Q8, _) => Self::Int8Pack,
            (Scheme::Q4, Device::Cpu) => Self::Int4PackForCpu,
            (Scheme::Q4, _) => Self::Int4Pack,
        }
    }

    /// What it is called in results.
    pub(crate) fn name(self, device: Device) -> String {
        match self {
            Self::Int8Pack => "int8pack".into(),
            // `Quantized.mm`: a product of one row each.
            Self::Int4Pack if device == Device::Mps => "int4pack, launched once a row".into(),
            Self::Int4Pack | Self::Int4PackForCpu => "int4pack".into(),
            Self::Dequantised(scheme) => {
                let bits = bits(scheme);
                format!(
                    "{OWN_KERNEL}dequantised to f32, then multiplied (int{bits}pack isn't vectorised here)"
                )
            }
        }
    }

    fn scheme(self) -> Scheme {
        match self {
            Self::Int8Pack => Scheme::Q8,
            Self::Int4Pack | Self::Int4PackForCpu => Scheme::Q4,
            Self::Dequantised(scheme) => scheme,
        }
    }

    /// The dtype of its scales beside activations of dtype `kind`.
    fn scales(self, kind: Kind) -> Kind {
        match self {
            Self::Dequantised(_) => Kind::Float,
            _ => kind,
        }
    }

    /// Some rows of codes as they are stacked up: i8 of shape `[rows, columns]`, or u8, two codes each, of
    /// shape `[rows, columns / 2]`.
    fn stacked(self, block: &Codes) -> Result<Tensor, TchError> {
        let codes = match self {
            Self::Int8Pack | Self::Dequantised(Scheme::Q8) => Tensor::f_from_slice(&block.codes)?,
            Self::Int4Pack | Self::Int4PackForCpu => {
                Tensor::f_from_slice(&neighbours(&block.codes))?
            }
            Self::Dequantised(Scheme::Q4) => Tensor::f_from_slice(&halves(&block.codes))?,
        };
        codes.f_view([block.rows() as i64, -1])
    }
}

/// Of a code.
fn bits(scheme: Scheme) -> usize {
    match scheme {
        Scheme::Q8 => 8,
        Scheme::Q4 => 4,
    }
}

/// A code as an unsigned number of four bits.
fn nibble(code: i8) -> u8 {
    (code + 8) as u8
}

/// Codes in pairs of neighbours, the first in the high half of a byte.
fn neighbours(codes: &[i8]) -> Vec<u8> {
    let (pairs, _) = codes.as_chunks();
    let pairs = pairs.iter();
    pairs
        .map(|&[high, low]| nibble(high) << 4 | nibble(low))
        .collect()
}

/// Codes in pairs of the same place in both halves of their block, the first in the low half of a byte: what
/// is unpacked lies together.
fn halves(codes: &[i8]) -> Vec<u8> {
    let blocks = codes.chunks_exact(Q4_BLOCK);
    let pairs = blocks.flat_map(|block| {
        let (first, second) = block.split_at(Q4_BLOCK / 2);
        first.iter().zip(second)
    });
    pairs
        .map(|(&low, &high)| nibble(high) << 4 | nibble(low))
        .collect()
}

/// A matrix of shape `[rows, columns]`.
#[derive(Debug)]
pub(crate) struct Quantised {
    kernel: Kernel,
    /// Of activations.
    dtype: Kind,
    columns: i64,
    /// As the kernel takes them.
    codes: Tensor,
    scales: Tensor,
}

impl Quantised {
    /// The matrix of `rows` rows that come in blocks. At most what is packed is in memory twice.
    ///
    /// # Errors
    /// libtorch's own, and what a block's error says.
    pub(crate) fn pack(
        kernel: Kernel,
        blocks: impl Iterator<Item = Result<Codes>>,
        [rows, columns]: [i64; 2],
        (kind, device): (Kind, Device),
    ) -> Result<Self, TchError> {
        let (element, width, of_row) = match kernel.scheme() {
            Scheme::Q8 => (Kind::Int8, columns, 1),
            Scheme::Q4 => (Kind::Uint8, columns / 2, columns / BLOCK),
        };
        let codes = Tensor::f_empty([rows, width], (element, device))?;
        let scales = Tensor::f_empty([rows, of_row], (kernel.scales(kind), device))?;
        let mut first = 0;
        for block in blocks {
            let block = block.map_err(not_libtorchs)?;
            let count = block.rows() as i64;
            let part = |tensor: &Tensor| tensor.f_narrow(0, first, count);
            part(&codes)?.f_copy_(&kernel.stacked(&block)?)?;
            // tch 0.26 takes a slice of bf16 for one of f16.
            let of_block: Vec<f32> = block.scales.iter().map(|scale| scale.to_f32()).collect();
            let of_block = Tensor::f_from_slice(&of_block)?;
            part(&scales)?.f_copy_(&of_block.f_view([count, of_row])?)?;
            first += count;
        }
        let (codes, scales) = match kernel {
            Kernel::Int8Pack => (codes, scales.f_view([-1])?),
            Kernel::Int4Pack => (
                codes.f_internal_convert_weight_to_int4pack(inner_tiles(columns))?,
                with_zeros(&scales)?,
            ),
            Kernel::Int4PackForCpu => (packed_for_cpu(codes)?, with_zeros(&scales)?),
            Kernel::Dequantised(_) => (codes, scales),
        };
        Ok(Self {
            kernel,
            dtype: kind,
            columns,
            codes,
            scales,
        })
    }

    /// The same matrix for another owner.
    pub(crate) fn shallow_clone(&self) -> Self {
        self.of(self.codes.shallow_clone(), self.scales.shallow_clone())
    }

    /// So many of its rows, from `first` on, both multiples of [`TILE`] in q4; the codes are shared.
    pub(crate) fn rows(&self, first: i64, count: i64) -> Result<Self, TchError> {
        let rows = |tensor: &Tensor| tensor.f_narrow(0, first, count);
        // The kernels want them without gaps: a small copy.
        let with_zeros = || self.scales.f_narrow(1, first, count)?.f_contiguous();
        Ok(match self.kernel {
            Kernel::Int8Pack | Kernel::Dequantised(_) => {
                self.of(rows(&self.codes)?, rows(&self.scales)?)
            }
            // Eight rows each.
            Kernel::Int4Pack => {
                self.of(self.codes.f_narrow(0, first / 8, count / 8)?, with_zeros()?)
            }
            Kernel::Int4PackForCpu => self.of(rows(&self.codes)?, with_zeros()?),
        })
    }

    fn of(&self, codes: Tensor, scales: Tensor) -> Self {
        Self {
            codes,
            scales,
            ..*self
        }
    }

    /// Where it is.
    pub(crate) fn device(&self) -> Device {
        self.codes.device()
    }

    /// Bytes of codes and scales.
    pub(crate) fn bytes(&self) -> u64 {
        bytes(&self.codes) + bytes(&self.scales)
    }

    /// `x W^T`: from `[.., columns]` to `[.., rows]`, in the dtype of `x`.
    pub(crate) fn product(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let (codes, scales) = (&self.codes, &self.scales);
        // The kernels take rows without gaps.
        let flat = x.f_reshape([-1, self.columns])?.f_contiguous()?;
        let y = match self.kernel {
            Kernel::Int8Pack => flat.f_internal_weight_int8pack_mm(codes, scales)?,
            Kernel::Int4Pack => flat.f_internal_weight_int4pack_mm(codes, BLOCK, scales)?,
            Kernel::Int4PackForCpu => {
                flat.f_internal_weight_int4pack_mm_for_cpu(codes, BLOCK, scales)?
            }
            Kernel::Dequantised(_) => self.dequantised_product(&flat)?,
        };
        let mut shape = x.size();
        shape.pop();
        shape.push(-1);
        y.f_view(&shape[..])
    }

    /// The rows of `ids` of a matrix in q8, in the dtype of activations: from a shape to that and
    /// `[columns]`.
    pub(crate) fn lookup(&self, ids: &Tensor) -> Result<Tensor, TchError> {
        let rows = |table: &Tensor| Tensor::f_embedding(table, ids, -1, false, false);
        let scales = rows(&self.scales.f_view([-1, 1])?)?.f_to_kind(self.dtype)?;
        // Codes of 8 bits and scales are exact in every dtype: only their product is rounded.
        rows(&self.codes)?.f_to_kind(self.dtype)?.f_mul(&scales)
    }
}

/// An error of ours where libtorch's are: without a word in front of its own.
pub(crate) fn not_libtorchs(
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> TchError {
    TchError::Io(std::io::Error::other(error))
}

/// `innerKTiles`: how many tiles of 16 columns lie together, as many as fit into `columns`.
fn inner_tiles(columns: i64) -> i64 {
    if columns % 128 == 0 { 8 } else { 4 }
}

/// Scales of shape `[rows, blocks]` with zeros of 0, of shape `[blocks, rows, 2]`.
fn with_zeros(scales: &Tensor) -> Result<Tensor, TchError> {
    let both = [
        scales.f_transpose(0, 1)?,
        scales.f_zeros_like()?.f_transpose(0, 1)?,
    ];
    Tensor::f_stack(&both, -1)?.f_contiguous()
}

/// Pairs of neighbours as the CPU's kernel takes them. It packs numbers of 32 bits: some rows at a time.
fn packed_for_cpu(pairs: Tensor) -> Result<Tensor, TchError> {
    let (rows, width) = pairs.size2()?;
    let at_once = ((AT_ONCE / (2 * width)) / TILE).max(1) * TILE;
    for first in (0..rows).step_by(at_once as usize) {
        let mut part = pairs.f_narrow(0, first, at_once.min(rows - first))?;
        let (low, high) = (
            part.f_bitwise_and(15)?,
            part.f_bitwise_right_shift_tensor_scalar(4)?,
        );
        let codes = Tensor::f_stack(&[high, low], -1)?.f_view([-1, 2 * width])?;
        // The second number has no meaning on the CPU.
        let packed = codes
            .f_to_kind(Kind::Int)?
            .f_internal_convert_weight_to_int4pack_for_cpu(1)?;
        part.f_copy_(&packed)?;
    }
    Ok(pairs)
}

/// The products of a model with weights of `scheme`, part to name.
pub(crate) fn names(scheme: Scheme, place: (Kind, Device)) -> BTreeMap<String, String> {
    let name = |scheme| Kernel::of(scheme, place).name(place.1);
    BTreeMap::from([
        ("product".into(), name(scheme)),
        ("output projection".into(), name(Scheme::Q8)),
    ])
}

/// Whether the kernels take all of a model's matrices.
///
/// # Errors
/// [`Error::Unsupported`], with the first that they don't. libtorch's vectorised 8-bit kernel reads whole
/// groups of 16 columns whether or not they are there, and MPS wants multiples of 32 both ways; blocks of q4
/// are of 64 columns, its rows in tiles of up to 64.
pub(crate) fn check_shapes(config: &GemmaConfig, scheme: Scheme) -> Result<()> {
    for tensor in config.tensors() {
        // Of experts, each must be whole tiles.
        let [.., rows, columns] = tensor.shape[..] else {
            continue;
        };
        let scheme = scheme.of_tensor(&tensor.name);
        let multiple = match scheme {
            Scheme::Q8 => 32,
            Scheme::Q4 => TILE as usize,
        };
        if rows % multiple != 0 || columns % multiple != 0 {
            return Err(Error::Unsupported(format!(
                "PyTorch's {}-bit products take rows and columns in multiples of {multiple}: `{}` is of shape \
                 [{rows}, {columns}]",
                bits(scheme),
                tensor.name
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mlxbench_core::gemma::preset;

    use super::*;

    const HERE: Device = Device::Cpu;

    /// All that can be run here, wherever they are chosen.
    const KERNELS: [Kernel; 4] = [
        Kernel::Int8Pack,
        Kernel::Int4PackForCpu,
        Kernel::Dequantised(Scheme::Q8),
        Kernel::Dequantised(Scheme::Q4),
    ];

    /// Random codes in three uneven blocks, and the weights that they stand for.
    fn packed(kernel: Kernel, shape: [i64; 2], kind: Kind) -> (Quantised, Tensor) {
        let (codes, weights) = trial::random(kernel.scheme(), shape).unwrap();
        let (columns, of_row) = (codes.columns, codes.blocks());
        let rows = [0, 50, 150, codes.rows()];
        let blocks = rows.windows(2).map(|rows| {
            Ok(Codes {
                scheme: codes.scheme,
                columns,
                codes: codes.codes[rows[0] * columns..rows[1] * columns].to_vec(),
                scales: codes.scales[rows[0] * of_row..rows[1] * of_row].to_vec(),
            })
        });
        let packed = Quantised::pack(kernel, blocks, shape, (kind, HERE)).unwrap();
        (packed, weights)
    }

    /// `weights` as `kernel` gives them in `kind`: rounded, but cut to bf16 by the 4-bit kernel of ARM CPUs (read
    /// from `int4mm_kernel.cpp`, not seen).
    fn given(kernel: Kernel, weights: &Tensor, kind: Kind) -> Tensor {
        let cuts = cfg!(target_arch = "aarch64")
            && (kernel, kind) == (Kernel::Int4PackForCpu, Kind::BFloat16);
        match cuts {
            true => {
                let bits = weights.view_dtype(Kind::Int).bitwise_and(-65536_i64);
                bits.view_dtype(Kind::Float).to_kind(kind)
            }
            false => weights.to_kind(kind),
        }
    }

    /// The weights by the product: that of each column alone.
    fn by_product(packed: &Quantised) -> Tensor {
        let x = Tensor::eye(packed.columns, (packed.dtype, HERE));
        packed.product(&x).unwrap().transpose(0, 1)
    }

    #[test]
    fn every_product_is_with_the_weights_that_the_codes_stand_for_to_the_bit() {
        for kernel in KERNELS {
            for columns in [64, 192, 640] {
                let (exact, weights) = packed(kernel, [192, columns], Kind::Float);
                assert_eq!(by_product(&exact), weights, "{kernel:?}, {columns} columns");
                for kind in [Kind::BFloat16, Kind::Half] {
                    let (rounded, weights) = packed(kernel, [192, columns], kind);
                    let expected = given(kernel, &weights, kind);
                    assert_eq!(by_product(&rounded), expected, "{kernel:?}, {kind:?}");
                }
            }
        }
    }

    #[test]
    fn so_they_are_where_rows_are_unpacked_or_packed_in_several_parts() {
        let (rows, columns) = (AT_ONCE / 512 + TILE, 512);
        for kernel in [Kernel::Int4PackForCpu, Kernel::Dequantised(Scheme::Q4)] {
            let (packed, weights) = packed(kernel, [rows, columns], Kind::BFloat16);
            let expected = given(kernel, &weights, Kind::BFloat16);
            assert_eq!(by_product(&packed), expected, "{kernel:?}");
        }
    }

    #[test]
    fn training_is_given_the_weights_of_the_products() {
        for kernel in KERNELS {
            for kind in [Kind::Float, Kind::BFloat16] {
                let (packed, weights) = packed(kernel, [AT_ONCE / 512 + TILE, 576], kind);
                let expected = given(kernel, &weights, kind);
                assert_eq!(
                    packed.dequantised().unwrap(),
                    expected,
                    "{kernel:?}, {kind:?}"
                );
            }
        }
    }

    #[test]
    fn a_slice_has_its_rows() {
        for kernel in KERNELS {
            let (packed, weights) = packed(kernel, [256, 128], Kind::Float);
            let slice = packed.rows(TILE, 2 * TILE).unwrap();
            let expected = weights.narrow(0, TILE, 2 * TILE);
            assert_eq!(by_product(&slice), expected, "{kernel:?}");
        }
    }

    #[test]
    fn rows_of_a_table_are_rounded_once() {
        for kernel in [Kernel::Int8Pack, Kernel::Dequantised(Scheme::Q8)] {
            for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
                let (table, weights) = packed(kernel, [192, 64], kind);
                let ids = Tensor::from_slice(&[191_i64, 0, 7, 7]).view([2, 2]);
                let rows = table.lookup(&ids).unwrap();
                let expected = weights.to_kind(kind).index_select(0, &ids.view([-1]));
                assert_eq!(rows, expected.view([2, 2, 64]), "{kernel:?}, {kind:?}");
            }
        }
    }

    #[test]
    fn bytes_are_those_of_codes_scales_and_zeros() {
        let bytes = |kernel, kind| packed(kernel, [192, 128], kind).0.bytes();
        let elements = 192 * 128;
        for (kernel, kind, expected) in [
            (Kernel::Int8Pack, Kind::BFloat16, elements + 192 * 2),
            // Two blocks a row, each with a scale and a zero.
            (
                Kernel::Int4PackForCpu,
                Kind::BFloat16,
                elements / 2 + 192 * 2 * 4,
            ),
            (
                Kernel::Dequantised(Scheme::Q8),
                Kind::Half,
                elements + 192 * 4,
            ),
            (
                Kernel::Dequantised(Scheme::Q4),
                Kind::Half,
                elements / 2 + 192 * 2 * 4,
            ),
        ] {
            assert_eq!(bytes(kernel, kind), expected, "{kernel:?}");
        }
    }

    #[test]
    fn neighbours_have_the_first_of_two_in_the_high_half() {
        assert_eq!(neighbours(&[-8, 7, 0, -1]), [0x0f, 0x87]);
    }

    #[test]
    fn bf16_has_libtorchs_own_products_and_x86_no_fast_ones_for_the_others() {
        let name = |scheme, kind| Kernel::of(scheme, (kind, HERE)).name(HERE);
        assert_eq!(name(Scheme::Q8, Kind::BFloat16), "int8pack");
        assert_eq!(name(Scheme::Q4, Kind::BFloat16), "int4pack");
        for kind in [Kind::Float, Kind::Half] {
            let own = name(Scheme::Q4, kind).starts_with(OWN_KERNEL);
            assert_eq!(own, cfg!(target_arch = "x86_64"), "{kind:?}");
        }
    }

    #[test]
    fn every_preset_has_shapes_that_the_products_take() {
        for model in ["gemma-2b", "gemma-2-9b", "gemma-3-270m", "gemma-3-4b"] {
            let config = preset(model).unwrap().config();
            check_shapes(&config, Scheme::Q4).unwrap();
        }
    }

    #[test]
    fn a_shape_that_they_do_not_take_is_named() {
        let mut config = preset("gemma-3-270m").unwrap().config();
        config.layers[3].mlp_width = 2080;
        let error = check_shapes(&config, Scheme::Q4).unwrap_err().to_string();
        let expected = "PyTorch's 4-bit products take rows and columns in multiples of 64: \
                        `model.layers.3.mlp.gate_proj.weight` is of shape [2080, 640]";
        assert_eq!(error, expected);
        check_shapes(&config, Scheme::Q8).unwrap();
    }

    #[test]
    fn a_checkpoints_own_words_come_through() {
        let wrong = || Error::model("there", "a weight is NaN");
        let blocks = std::iter::once(Err(wrong()));
        let error = Quantised::pack(Kernel::Int8Pack, blocks, [64, 64], (Kind::Float, HERE));
        let error = crate::backend::framework(error.unwrap_err());
        assert_eq!(error.to_string(), wrong().to_string());
        assert!(matches!(error, Error::Model { .. }));
    }
}
