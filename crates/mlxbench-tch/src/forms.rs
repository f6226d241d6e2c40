//! The forms in which attention is computed. All take queries of shape `[batch, heads, tokens, head_dim]`,
//! keys and values of shape `[batch, kv_heads, entries, head_dim]`, and give the queries' shape.

use tch::{Kind, TchError, Tensor};

/// libtorch's fused attention. The queries that share a key and value head stand below one another, so
/// neither is repeated; a mask is of shape `[group * tokens, entries]`.
pub(crate) fn grouped(
    queries: &Tensor,
    [keys, values]: [&Tensor; 2],
    mask: Option<&Tensor>,
    scale: f64,
) -> Result<Tensor, TchError> {
    let grouped = group(queries, keys)?;
    Tensor::f_scaled_dot_product_attention(&grouped, keys, values, mask, 0.0, false, scale, false)?
        .f_reshape(queries.size())
}

/// libtorch's fused attention with its causal flag, which counts from the first key: there must be as many
/// queries as keys.
pub(crate) fn causal(
    queries: &Tensor,
    [keys, values]: [&Tensor; 2],
    scale: f64,
) -> Result<Tensor, TchError> {
    Tensor::f_scaled_dot_product_attention(
        queries,
        keys,
        values,
        None::<&Tensor>,
        0.0,
        true,
        scale,
        true,
    )
}

/// Attention in separate steps. The soft-cap comes before the mask, of shape `[group * tokens, entries]` or
/// one that broadcasts to it, in f32; so is the softmax.
pub(crate) fn plain(
    queries: &Tensor,
    [keys, values]: [&Tensor; 2],
    mask: Option<&Tensor>,
    scale: f64,
    softcap: Option<f64>,
) -> Result<Tensor, TchError> {
    let mut scores = group(queries, keys)?.f_matmul(&keys.f_transpose(2, 3)?)?;
    scores = scores.f_mul_scalar_(scale)?;
    if let Some(cap) = softcap {
        scores = scores.f_div_scalar_(cap)?.f_tanh_()?.f_mul_scalar_(cap)?;
    }
    let mut scores = scores.f_to_kind(Kind::Float)?;
    if let Some(mask) = mask {
        scores = scores.f_add_(mask)?;
    }
    let weights = scores.f_softmax(-1, Kind::Float)?;
    weights
        .f_to_kind(queries.kind())?
        .f_matmul(values)?
        .f_reshape(queries.size())
}

/// The queries as `[batch, kv_heads, group * tokens, head_dim]`.
pub(crate) fn group(queries: &Tensor, keys: &Tensor) -> Result<Tensor, TchError> {
    let (batch, _, _, head_dim) = queries.size4()?;
    queries.f_reshape([batch, keys.size4()?.1, -1, head_dim])
}
