//! The page of which operations work where.

use mlxbench_report::{Beside, Format, render, trials_page};

use crate::matrices::two;
use crate::reports::assert_good_everywhere;
use crate::support::run;

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn a_page_of_one_machine_and_of_two() {
    let two = two();
    for (name, of) in [("ops-one", &two[..1]), ("ops-two", &two)] {
        let page = String::from_utf8(trials_page(of)).unwrap();
        assert_good_everywhere(name, &page);
    }
}

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn a_report_with_matrices() {
    let beside = Beside {
        matrices: two().into(),
        ..Beside::default()
    };
    let page = render(&[run()], &beside, Format::Html);
    assert_good_everywhere("report-with-ops", &String::from_utf8(page).unwrap());
}
