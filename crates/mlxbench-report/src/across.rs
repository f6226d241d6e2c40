//! Several results as one answer: which framework is fastest where.

use std::collections::BTreeSet;

use mlxbench_analysis::Row;
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

/// The fastest target of one result in one precision.
struct Best<'a> {
    at: usize,
    row: &'a Row,
    rate: f64,
}

/// The fastest of each result by precision, the fastest first; precisions that most results share come first.
fn best<'a>(digests: &'a [Digest<'_>], test: &Test) -> Vec<(Precision, Vec<Best<'a>>)> {
    let mut precisions: Vec<(Precision, Vec<Best<'a>>)> = Vec::new();
    for (at, digest) in digests.iter().enumerate() {
        let rows = digest.summary.rows.iter().filter(|row| row.test == *test);
        for row in rows.filter(|row| digest.unfit(row).is_none()) {
            let Some(rate) = row.decode_tokens_per_second else {
                continue;
            };
            let (precision, rate) = (row.target.placement.precision, rate.median);
            let own = match precisions.iter().position(|(known, _)| *known == precision) {
                Some(known) => &mut precisions[known].1,
                None => {
                    precisions.push((precision, Vec::new()));
                    &mut precisions.last_mut().expect("one was added").1
                }
            };
            match own.iter_mut().find(|best| best.at == at) {
                Some(best) if best.rate >= rate => {}
                Some(best) => (best.row, best.rate) = (row, rate),
                None => own.push(Best { at, row, rate }),
            }
        }
    }
    for (_, own) in &mut precisions {
        own.sort_by(|a, b| b.rate.total_cmp(&a.rate));
    }
    precisions
        .sort_by(|(_, a), (_, b)| b.len().cmp(&a.len()).then(b[0].rate.total_cmp(&a[0].rate)));
    precisions
}

/// The answer across results: a headline, and a line for each precision, without their ends.
pub(crate) fn answer(digests: &[Digest<'_>]) -> (String, Vec<String>) {
    let labels = labels(digests);
    let count = digests.len();
    let Some(test) = shared_test(digests, Metric::Decode) else {
        let own = digests.iter().zip(&labels);
        let own =
            own.map(|(digest, label)| format!("{label}: {}", answer::answer(digest).headline));
        return (
            format!("{count} results without a test in common"),
            own.collect(),
        );
    };
    let precisions = best(digests, &test);
    let line = |(precision, own): &(Precision, Vec<Best<'_>>)| {
        let named = |best: &Best<'_>| {
            let name = digests[best.at].name(&best.row.target).short();
            format!("{name} on {}", labels[best.at])
        };
        let figure = units::figure(own[0].rate);
        let rivals = own
            .iter()
            .skip(1)
            .map(|rival| format!("{:.2}x {}", own[0].rate / rival.rate, named(rival)));
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
                first.rate / last.rate,
                labels[last.at]
            )
        }
    };
    (headline, lines)
}
