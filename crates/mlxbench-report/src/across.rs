//! Several results as one answer: which framework is fastest where.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use mlxbench_analysis::{Estimate, Row, Unfit};
use mlxbench_core::Precision;
use mlxbench_core::results::{Metric, Test};

use crate::answer;
use crate::first::model;
use crate::machine::short;
use crate::{Digest, units};

/// What tells each result from the others, as short as that goes: the machine, the model, the config, the commit, the
/// time.
pub(crate) fn labels(digests: &[Digest<'_>]) -> Vec<String> {
    let facets: [fn(&Digest<'_>) -> String; 5] = [
        |digest| short(digest.result),
        |digest| model(digest.result).to_owned(),
        |digest| digest.result.run.name.clone(),
        |digest| {
            let commit = digest.result.run.mlxbench.commit.as_deref();
            commit.unwrap_or("no commit").chars().take(7).collect()
        },
        |digest| {
            digest
                .result
                .run
                .started
                .strftime("%Y-%m-%d %H:%M")
                .to_string()
        },
    ];
    let mut labels: Vec<Vec<String>> = vec![Vec::new(); digests.len()];
    for facet in facets {
        let own: Vec<String> = digests.iter().map(facet).collect();
        let apart = labels.iter().collect::<BTreeSet<_>>().len() == digests.len();
        if apart || own.iter().all(|other| *other == own[0]) {
            continue;
        }
        for (label, own) in labels.iter_mut().zip(own) {
            label.push(own);
        }
    }
    let joined: Vec<String> = labels.iter().map(|label| label.join(", ")).collect();
    let numbered = joined.iter().enumerate().map(|(at, label)| {
        let alike = joined.iter().filter(|other| *other == label).count() > 1;
        match (alike, label.is_empty()) {
            (false, false) => label.clone(),
            (_, true) => format!("result {}", at + 1),
            (true, false) => format!("{label} (result {})", at + 1),
        }
    });
    numbered.collect()
}

/// The test that most results measured a figure of, then the one that generates the most tokens; `None` where no
/// two have one in common.
pub(crate) fn shared_test(digests: &[Digest<'_>], metric: Metric) -> Option<Test> {
    let tests = digests.iter().flat_map(|digest| &digest.result.run.tests);
    let tests: BTreeSet<Test> = tests.copied().filter(|test| test.yields(metric)).collect();
    let measured = |test: &Test| {
        let measured = |digest: &&Digest<'_>| {
            let mut rows = digest.summary.rows.iter();
            rows.any(|row| row.test == *test && row.repetitions > 0)
        };
        digests.iter().filter(measured).count()
    };
    let tests = tests.into_iter().filter(|test| measured(test) > 1);
    tests.max_by_key(|test| (measured(test), test.generate_tokens()))
}

/// The test of each result that it stands for: the shared one, else its own main test.
pub(crate) fn tests(digests: &[Digest<'_>], metric: Metric) -> Vec<Option<Test>> {
    let shared = shared_test(digests, metric);
    let test = |digest: &Digest<'_>| {
        let mut rows = digest.summary.rows.iter();
        let has = rows.any(|row| Some(row.test) == shared && row.repetitions > 0);
        if has {
            shared
        } else {
            digest.main_test_of(metric)
        }
    };
    digests.iter().map(test).collect()
}

/// A target's rate in one of several results.
pub(crate) struct Measured<'a> {
    /// Which result.
    pub(crate) at: usize,
    pub(crate) row: &'a Row,
    pub(crate) rate: Estimate,
    pub(crate) unfit: Option<Unfit>,
    /// Whether it may be compared with those of other results: rates of other tests are no share of this one's best.
    pub(crate) ranked: bool,
}

/// The rates of all results by precision, each result's in the test that it [stands for](tests): what is ranked
/// first, the fastest of it first.
pub(crate) fn by_precision<'a>(
    digests: &'a [Digest<'_>],
    metric: Metric,
    rate: fn(&Row) -> Option<Estimate>,
) -> Vec<(Precision, Vec<Measured<'a>>)> {
    let shared = shared_test(digests, metric);
    let mut precisions: Vec<(Precision, Vec<Measured<'a>>)> = Vec::new();
    for (at, (digest, test)) in digests.iter().zip(tests(digests, metric)).enumerate() {
        let rows = digest.summary.rows.iter();
        for row in rows.filter(|row| Some(row.test) == test) {
            let Some(rate) = rate(row) else { continue };
            let unfit = digest.unfit(row);
            let measured = Measured {
                at,
                row,
                rate,
                unfit,
                ranked: unfit.is_none() && (shared.is_none() || shared == test),
            };
            let precision = row.target.placement.precision;
            match precisions.iter_mut().find(|(known, _)| *known == precision) {
                Some((_, own)) => own.push(measured),
                None => precisions.push((precision, vec![measured])),
            }
        }
    }
    let faster = |a: &Measured<'_>, b: &Measured<'_>| b.rate.median.total_cmp(&a.rate.median);
    for (_, own) in &mut precisions {
        own.sort_by(|a, b| b.ranked.cmp(&a.ranked).then(faster(a, b)));
    }
    precisions.sort_by(|(_, a), (_, b)| faster(&a[0], &b[0]));
    precisions
}

/// The fastest of each result by precision, the fastest first; precisions that most results share come first.
fn best<'a>(digests: &'a [Digest<'_>]) -> Vec<(Precision, Vec<Measured<'a>>)> {
    let all = by_precision(digests, Metric::Decode, |row| row.decode_tokens_per_second);
    let best = all.into_iter().filter_map(|(precision, mut own)| {
        let mut seen = BTreeSet::new();
        own.retain(|measured| measured.ranked && seen.insert(measured.at));
        (!own.is_empty()).then_some((precision, own))
    });
    let mut best: Vec<_> = best.collect();
    best.sort_by_key(|(_, own)| Reverse(own.len()));
    best
}

/// The answer across results: a headline, and a line for each precision, without their ends.
pub(crate) fn answer(digests: &[Digest<'_>]) -> (String, Vec<String>) {
    let labels = labels(digests);
    let count = digests.len();
    if shared_test(digests, Metric::Decode).is_none() {
        let own = digests.iter().zip(&labels);
        let own =
            own.map(|(digest, label)| format!("{label}: {}", answer::answer(digest).headline));
        return (
            format!("{count} results without a test in common"),
            own.collect(),
        );
    }
    let precisions = best(digests);
    let line = |(precision, own): &(Precision, Vec<Measured<'_>>)| {
        let named = |best: &Measured<'_>| {
            let name = digests[best.at].name(&best.row.target).short();
            format!("{name} on {}", labels[best.at])
        };
        let figure = units::figure(own[0].rate.median);
        let rivals = own.iter().skip(1).map(|rival| {
            format!(
                "{:.2}x {}",
                own[0].rate.median / rival.rate.median,
                named(rival)
            )
        });
        let rivals: Vec<String> = rivals.collect();
        let rivals = match rivals.is_empty() {
            true => ", measured nowhere else".to_owned(),
            false => format!(": {}", rivals.join(", ")),
        };
        format!(
            "{precision}: {} generates {figure} tokens/s{rivals}",
            named(&own[0])
        )
    };
    let lines: Vec<String> = precisions.iter().map(line).collect();
    let shared = precisions.first().filter(|(_, own)| own.len() > 1);
    let headline = match shared {
        None => format!("{count} results without a precision in common"),
        Some((precision, own)) => {
            let (first, last) = (&own[0], &own[own.len() - 1]);
            let name = digests[first.at].name(&first.row.target).short();
            format!(
                "Fastest to generate in {precision}: {name} on {}, {:.2}x the best on {}",
                labels[first.at],
                first.rate.median / last.rate.median,
                labels[last.at]
            )
        }
    };
    (headline, lines)
}
