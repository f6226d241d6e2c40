//! Memory: peaks beside what any implementation needs, and what a worker held while it worked.

use mlxbench_analysis::Row;
use mlxbench_core::results::Sample;

use super::{Better, Figure, by_precision, by_test, series, thinned};
use crate::draw::plane::{Axis, Plane, Point, Scale, Stroke};
use crate::draw::theme::Palette;
use crate::draw::{Chart, Form};
use crate::{Digest, units};

pub(super) const GIB: f64 = (1_u64 << 30) as f64;

/// How to read bars of memory.
const READING: &str = "The most that the worker process held, or its framework on the device where that is more. The \
                       grey mark is the floor: weights, keys and values in this precision, which no implementation \
                       goes below unless it leaves weights on disk.";

const AXIS: &str = "GiB at the peak";

/// The largest peak of each target in the main test, with the floor.
pub(super) fn peaks(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let test = digest.main_test()?;
    let rows = by_precision(digest, palette, &test, AXIS, Better::Lower, peak)?;
    Some(Chart {
        name: "memory".into(),
        title: format!("Peak memory, {test}"),
        caption: READING.into(),
        form: Form::Rows(rows),
    })
}

/// The same for each of several tests.
pub(super) fn peaks_by_test(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let rows = by_test(digest, palette, AXIS, Better::Lower, 2, peak)?;
    Some(Chart {
        name: "memory-by-test".into(),
        title: "Peak memory by test".into(),
        caption: READING.into(),
        form: Form::Rows(rows),
    })
}

fn peak(row: &Row) -> Option<Figure> {
    let peak = row.peak_bytes()?;
    Some(Figure {
        value: peak as f64 / GIB,
        interval: None,
        dots: Vec::new(),
        limit: row.memory_floor_bytes.map(|floor| floor as f64 / GIB),
        words: units::bytes(peak),
        beside: String::new(),
        timed: false,
    })
}

/// The memory of a repetition in the middle of each target's, in the test that took the longest.
pub(super) fn over_time(digest: &Digest<'_>, palette: &Palette) -> Option<Chart> {
    let seen = |sample: &&Sample| {
        let timeline = sample.timeline.as_ref();
        timeline.is_some_and(|timeline| timeline.memory_bytes.len() > 1)
    };
    let samples = digest.result.samples.iter().filter(seen);
    let longest = samples.max_by_key(|sample| sample.token_ns.last().copied())?;
    let test = longest.test;
    let targets = digest.result.run.targets.iter();
    let lines = targets.filter_map(|target| {
        let samples: Vec<&Sample> = digest
            .result
            .samples_of(target, &test)
            .filter(seen)
            .collect();
        let timeline = samples.get(samples.len() / 2)?.timeline.as_ref()?;
        let every = timeline.every_ns.as_secs_f64();
        let held = timeline.memory_bytes.iter().enumerate();
        let points = held.map(|(at, &bytes)| Point::new(at as f64 * every, bytes as f64 / GIB));
        let points = thinned(points.collect(), 64);
        Some(series(digest, palette, target, Stroke::Line, points))
    });
    Some(Chart {
        name: "memory-over-time".into(),
        title: format!("Memory over time, {test}"),
        caption: "What the worker process held during one repetition, by the operating system's \
                  account."
            .into(),
        form: Form::Plane(Plane {
            x: Axis {
                title: "seconds from the request".into(),
                scale: Scale::FromZero,
            },
            y: Axis {
                title: "GiB".into(),
                scale: Scale::FromZero,
            },
            series: lines.collect(),
        }),
    })
}
