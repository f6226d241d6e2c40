//! The page of which operations work where.

use mlxbench_report::trials_page;

use crate::matrices::two;
use crate::reports::assert_good_everywhere;

#[test]
#[ignore = "needs a browser: scripts/test runs it"]
fn a_page_of_one_machine_and_of_two() {
    let two = two();
    for (name, of) in [("ops-one", &two[..1]), ("ops-two", &two)] {
        let page = String::from_utf8(trials_page(of)).unwrap();
        assert_good_everywhere(name, &page);
    }
}
