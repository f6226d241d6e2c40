//! Results over time: what a page shows of few, and of thousands.

use mlxbench_core::results::RunResult;

use crate::support::{nightly, over_time};

fn page(results: &[RunResult]) -> String {
    String::from_utf8(over_time(results).page).expect("UTF-8")
}

/// The bytes of a page without its style and script, which are the same in all.
fn own_bytes(page: &str) -> usize {
    let style = page.find("</style>").expect("a style");
    let script = page.rfind("<script>").expect("a script");
    script - style
}

#[test]
fn a_page_has_every_result_of_a_few() {
    let page = page(&nightly(14));
    assert!(page.contains("14 results: "), "{page}");
    assert!(!page.contains("A mark stands for"));
    assert!(!page.contains("results every figure follows"));
    assert_eq!(page.matches(".json.gz").count(), 14);
}

#[test]
fn a_page_of_thousands_is_no_larger_than_one_of_hundreds() {
    let [hundreds, thousands] = [400, 4000].map(|count| page(&nightly(count)));
    let (hundreds_bytes, thousands_bytes) = (own_bytes(&hundreds), own_bytes(&thousands));
    assert!(
        thousands_bytes * 10 < hundreds_bytes * 11,
        "{hundreds_bytes} and {thousands_bytes}"
    );
    assert!(thousands.contains("A mark stands for up to 40 results"));
    assert!(thousands.contains("Of the newest 50 results every figure follows"));
    assert!(thousands.contains("the other 3950 are in their files"));
    assert_eq!(thousands.matches(".json.gz").count(), 50);
}

#[test]
fn a_change_is_found_at_its_result_among_thousands() {
    let text = over_time(&nightly(4000)).text;
    // 2000 in hexadecimal digits.
    assert!(text.contains("worse since 00007d0"), "{text}");
    let changes = text.lines().filter(|line| line.contains(" since "));
    assert!(changes.clone().count() > 0);
    assert!(
        changes.clone().all(|line| line.contains("00007d0")),
        "{text}"
    );
}

#[test]
fn one_result_that_is_far_off_is_seen_among_thousands() {
    let chart = |results: &[RunResult]| {
        let page = page(results);
        let chart = page.split("id=\"decode-0-0\"").nth(1).unwrap();
        chart.split("</figure>").next().unwrap().to_owned()
    };
    let usual = nightly(1000);
    let mut stalled = usual.clone();
    // It is the slowest of its ten anyway: their median stays where it is, and the bar's end doesn't.
    for sample in &mut stalled[337].samples {
        sample.token_ns.iter_mut().for_each(|time| time.0 *= 10);
    }
    assert_ne!(chart(&usual), chart(&stalled));
}
