//! A comparison as JUnit's XML, which every CI system shows: a test case a row.

use mlxbench_analysis::{Change, Comparison};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::words::{change, headline, hopeless, method, verdict_and_why};
use crate::terminal::plain;

pub(super) fn render(comparison: &Comparison) -> String {
    let mut suite = TestSuite::new(plain(&comparison.new.name));
    for row in &comparison.rows {
        let mut status = match row.change {
            Change::Better | Change::Same => TestCaseStatus::success(),
            Change::Worse | Change::Broken { .. } => {
                TestCaseStatus::non_success(NonSuccessKind::Failure)
            }
            Change::Inconclusive { .. } | Change::NotComparable { .. } => TestCaseStatus::skipped(),
        };
        let change = change(row).map(|change| format!("{change}, "));
        let said = format!("{}{}", change.unwrap_or_default(), verdict_and_why(row));
        let said = plain(&said);
        status.set_message(said.clone());
        let name = format!("{} {}", row.test, row.metric.name());
        let mut case = TestCase::new(name, status);
        case.set_classname(plain(&row.target.to_string()));
        case.set_system_out(said);
        suite.add_test_case(case);
    }
    for gone in &comparison.vanished {
        let mut status = TestCaseStatus::skipped();
        status.set_message("only the base has it");
        let (target, test) = gone.split_once(' ').unwrap_or((gone, ""));
        let mut case = TestCase::new(plain(test), status);
        case.set_classname(plain(target));
        suite.add_test_case(case);
    }
    if suite.test_cases.is_empty() {
        let mut status = TestCaseStatus::skipped();
        status.set_message(headline(comparison));
        suite.add_test_case(TestCase::new("comparison", status));
    }
    let said = hopeless(comparison).into_iter().chain([method(comparison)]);
    suite.set_system_out(said.collect::<Vec<String>>().join("\n"));
    let mut report = Report::new("mlxbench");
    report.add_test_suite(suite);
    report.to_string().expect("plain text is no wrong XML")
}
