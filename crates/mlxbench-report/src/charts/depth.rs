//! Decode rate against what is in the context already.

use mlxbench_core::results::Test;

use super::{lines, point};
use crate::Digest;
use crate::draw::plane::{Axis, Plane, Scale};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};

/// How decode slows down as the context grows; `None` for a run with one length of context.
pub(super) fn chart(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let series = lines(digest, palette, Test::conditions, |row| {
        let context = row.test.depth() + row.test.prompt_tokens();
        Some(point(context as f64, row.decode_tokens_per_second?))
    });
    (!series.is_empty()).then(|| Chart {
        name: "depth".into(),
        title: "Decode rate against context".into(),
        caption:
            "Each step reads the keys and values of all tokens before it, so a longer context \
                  costs memory bandwidth."
                .into(),
        form: Form::Plane(Plane {
            x: Axis {
                title: "tokens in the context when decode starts".into(),
                scale: Scale::Linear,
            },
            y: Axis {
                title: "tokens a second".into(),
                scale: Scale::FromZero,
            },
            series,
        }),
    })
}
