//! The tokens of timed tests beside the reference's, in words.

use mlxbench_analysis::Row;

use crate::Digest;

/// What stands above the lines.
pub(crate) const HEADING: &str = "Tokens of the timed tests beside the reference's:";

/// One line a target and test that the reference generated, too.
pub(crate) fn lines(digest: &Digest<'_>) -> Vec<String> {
    let rows = digest.summary.rows.iter();
    rows.filter_map(|row| line(digest, row)).collect()
}

fn line(digest: &Digest<'_>, row: &Row) -> Option<String> {
    let tokens = row.tokens?;
    let case = format!("{} {}", digest.name(&row.target), row.test);
    let Some(parted) = tokens.parted else {
        let all = tokens.compared;
        return Some(format!("{case}: all {all} the same"));
    };
    let known = digest.result.parting_of(&row.target, &row.test);
    let margin = match known {
        Some(known) => format!(
            "margin {:.2}, KL {:.1e} at least",
            known.divergence.margin, known.least_kl
        ),
        None => "the reference's margin there isn't known".to_owned(),
    };
    let of_row = match row.test.rows() {
        1 => String::new(),
        _ => format!(" of row {}", parted.row),
    };
    Some(format!(
        "{case}: part at position {}{of_row} of {}: {} for {}, {margin}",
        parted.position, tokens.compared, parted.token, parted.reference_token
    ))
}
