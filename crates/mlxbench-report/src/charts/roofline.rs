//! The roofline: rates against arithmetic intensity, below what was measured as the device's limit
//! (Williams, Waterman & Patterson, "Roofline", *Communications of the ACM* 52, 2009).

use std::collections::BTreeMap;

use mlxbench_analysis::roofline::{DeviceLimits, Limit, Work, decode_work, hardware, prefill_work};
use mlxbench_analysis::{Estimate, Row};
use mlxbench_core::Dtype;
use mlxbench_core::results::TargetId;

use super::{limit, point, series, tell_absent};
use crate::draw::plane::{Axis, Plane, Point, Scale, Series, Stroke};
use crate::draw::theme::{MUTED, Palette};
use crate::draw::{Chart, Form};
use crate::{Digest, units};

/// One chart a device that was probed.
pub(super) fn charts(digest: &Digest<'_>, palette: &Palette) -> Vec<Chart> {
    let devices = digest.summary.limits.iter();
    let charts = devices.filter_map(|(device, limits)| {
        let mut chart = chart(digest, palette, device, limits)?;
        let here = |target: &TargetId| hardware(&target.placement.device) == *device;
        tell_absent(digest, &mut chart, here);
        Some(chart)
    });
    charts.collect()
}

fn chart(
    digest: &Digest<'_>,
    palette: &Palette,
    device: &str,
    limits: &DeviceLimits,
) -> Option<Chart> {
    let test = digest.main_test()?;
    let rows = digest.summary.rows.iter().filter(|row| row.test == test);
    let here = rows.filter(|row| hardware(&row.target.placement.device) == device);
    let here: Vec<&Row> = here.collect();
    let marks = here.iter().enumerate().filter_map(|(at, row)| {
        // Marks of one intensity stand side by side, at most a tenth apart.
        let aside = (at as f64 - (here.len() - 1) as f64 / 2.0) / here.len() as f64;
        of_row(digest, palette, row, 1.6_f64.powf(aside))
    });
    let marks: Vec<Series> = marks.collect();
    let bandwidth = limits.bandwidth.as_ref()?.per_second / 1e9;
    let reach = || {
        marks
            .iter()
            .flat_map(|series| series.points.iter().map(|point| point.x))
    };
    let left = reach().fold(f64::INFINITY, f64::min) / 2.0;
    let right = reach().fold(0.0, f64::max) * 2.0;
    if marks.is_empty() || !left.is_finite() {
        return None;
    }
    let roofs = roofs(&limits.matmul, bandwidth, left, right);
    Some(Chart {
        name: format!("roofline-{}", device.replace(':', "-")),
        title: format!("Roofline of {device}, {test}"),
        caption: format!(
            "Each target has a mark for decode, to the left, and one for prefill, to the right; beside its name \
             stand its shares of the limits there, MBU and MFU. The slope is the measured memory bandwidth, {}; \
             the flat parts are the measured rates of matrix products. The distance to the roof is what an \
             implementation leaves unused. Marks of one intensity are drawn side by side.",
            units::bandwidth(bandwidth * 1e9)
        ),
        form: Form::Plane(Plane {
            x: Axis {
                title: "FLOP/byte".into(),
                scale: Scale::Logarithmic,
            },
            y: Axis {
                title: "GFLOP/s".into(),
                scale: Scale::Logarithmic,
            },
            series: marks.into_iter().chain(roofs).collect(),
        }),
    })
}

/// The marks of a row, decode and prefill, with the shares of the limits in its name.
fn of_row(digest: &Digest<'_>, palette: &Palette, row: &Row, aside: f64) -> Option<Series> {
    let mark = |rate: Option<Estimate>, work: Option<Work>| {
        let (rate, work) = (rate?, work?);
        let at = point(work.intensity() * aside, rate.scaled(work.operations / 1e9));
        // An interval is a hair's breadth in a logarithm.
        Some(Point {
            interval: None,
            ..at
        })
    };
    let result = digest.result;
    let decode = decode_work(result, &row.target, &row.test);
    let prefill = prefill_work(result, &row.target, &row.test);
    let marks = [
        mark(row.decode_tokens_per_second, decode),
        mark(row.prefill_tokens_per_second, prefill),
    ];
    let points: Vec<Point> = marks.into_iter().flatten().collect();
    let shares = [row.mbu, row.mfu].into_iter().flatten();
    let shares: Vec<String> = shares.map(|share| units::share(share.median)).collect();
    let mut own = series(digest, palette, &row.target, Stroke::Marks, points);
    if !shares.is_empty() {
        own.label += &format!(": {}", shares.join(", "));
    }
    (!own.points.is_empty()).then_some(own)
}

/// One roof a dtype: the slope of the bandwidth up to the rate of products, then flat.
fn roofs(matmul: &BTreeMap<Dtype, Limit>, bandwidth: f64, left: f64, right: f64) -> Vec<Series> {
    let roofs = matmul.iter().map(|(dtype, product)| {
        let rate = product.per_second / 1e9;
        let ridge = (rate / bandwidth).clamp(left, right);
        let at = |x: f64| Point::new(x, (x * bandwidth).min(rate));
        let points = vec![at(left), at(ridge), at(right)];
        limit(format!("limit {dtype}"), MUTED, points)
    });
    let roofs: Vec<Series> = roofs.collect();
    if roofs.is_empty() {
        let ends = [left, right].map(|x| Point::new(x, x * bandwidth));
        return vec![limit("bandwidth".into(), MUTED, ends.to_vec())];
    }
    roofs
}
