//! What quantised weights cost, and how they are kept, in words.

use mlxbench_analysis::Row;
use mlxbench_core::gemma::{Activations, Storage};
use mlxbench_core::results::{CostFigures, Perplexity, QuantisationCost, TargetId};
use mlxbench_core::{Dtype, GemmaConfig};

use crate::table::{self, Table};
use crate::{Digest, units};

/// The columns of the table of costs.
const COST_HEADER: [&str; 9] = [
    "weights",
    "text",
    "positions",
    "mean KL",
    "KL p99",
    "same top token",
    "perplexity",
    "in full precision",
    "note",
];

/// The columns of the table of how weights are kept.
const KEPT_HEADER: [&str; 7] = [
    "target",
    "bits/weight, layers",
    "bits/weight, tables",
    "all weights",
    "activations",
    "KV cache",
    "not quantised",
];

/// What quantising costs, and how quantised weights are kept; no table without rows.
pub(crate) fn tables(digest: &Digest<'_>) -> Vec<Table> {
    let costs = costs(digest).into_iter();
    table::with_rows([
        Table {
            heading: "What quantising costs".into(),
            about: format!(
                "{} KL(full precision || dequantised) in nats, perplexity ± its standard error.",
                verdicts(digest)
            ),
            header: &COST_HEADER,
            figures: 2..8,
            rows: costs.map(|cost| cost_cells(cost).to_vec()).collect(),
        },
        Table {
            heading: "How quantised weights are kept".into(),
            about: "Bits/weight as stored, scales and padding included; tables are the embedding table \
                    and the output projection."
                .into(),
            header: &KEPT_HEADER,
            figures: 1..4,
            rows: kept(digest),
        },
    ])
}

/// What is said where a result has neither figures nor a reason.
const UNKNOWN: &str = "it wasn't measured";

/// `fidelity of q4: ...`: how near full precision a row's quantised weights are, or why that
/// isn't known; `None` where they aren't quantised.
pub(crate) fn fidelity(row: &Row) -> Option<String> {
    let cost = row.quantisation_cost.as_ref()?;
    let said = said(cost, |figures| {
        format!(
            "mean KL {:.1e}, 99th percentile {:.1e}, same token {}, perplexity {}, full precision {} \
             (± 1 SE)",
            figures.mean_kl,
            figures.p99_kl,
            same_token(figures),
            perplexity(&figures.perplexity),
            perplexity(&figures.full_perplexity)
        )
    });
    Some(format!("fidelity of {said}"))
}

/// The same in short: `q4: ...`.
pub(crate) fn fidelity_in_short(cost: &QuantisationCost) -> String {
    said(cost, |figures| {
        let (mean, same) = (figures.mean_kl, same_token(figures));
        format!("mean KL {mean:.1e}, same token {same}")
    })
}

fn said(cost: &QuantisationCost, words: impl Fn(&CostFigures) -> String) -> String {
    let fidelity = match (&cost.figures, &cost.reason) {
        (Some(figures), _) => words(figures),
        (None, reason) => format!("none, {}", reason.as_deref().unwrap_or(UNKNOWN)),
    };
    format!("{}: {fidelity}", cost.weights.name())
}

/// The costs of `rows`, each scheme once.
pub(crate) fn of_rows<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<&'a QuantisationCost> {
    let mut costs: Vec<&QuantisationCost> = Vec::new();
    for cost in rows.filter_map(|row| row.quantisation_cost.as_ref()) {
        if costs.iter().all(|known| known.weights != cost.weights) {
            costs.push(cost);
        }
    }
    costs
}

/// The schemes whose cost is known, and those of rows that were measured.
pub(crate) fn costs<'a>(digest: &'a Digest<'_>) -> Vec<&'a QuantisationCost> {
    let known = |row: &Row| digest.result.quantisation_cost_of(&row.target).is_some();
    let rows = digest.summary.rows.iter();
    of_rows(rows.filter(|row| row.repetitions > 0 || known(row)))
}

/// One line of the table of costs.
fn cost_cells(cost: &QuantisationCost) -> [String; COST_HEADER.len()] {
    let scheme = cost.weights.name().to_owned();
    let reason = cost.reason.clone();
    let Some(figures) = &cost.figures else {
        let mut cells = [const { String::new() }; COST_HEADER.len()];
        cells[0] = scheme;
        cells[COST_HEADER.len() - 1] = reason.unwrap_or(UNKNOWN.into());
        return cells;
    };
    [
        scheme,
        figures.text.clone(),
        figures.positions.to_string(),
        format!("{:.1e}", figures.mean_kl),
        format!("{:.1e}", figures.p99_kl),
        same_token(figures),
        perplexity(&figures.perplexity),
        perplexity(&figures.full_perplexity),
        reason.unwrap_or_default(),
    ]
}

/// What the two verdicts on quantised weights compare.
fn verdicts(digest: &Digest<'_>) -> String {
    let reference = digest.result.run.settings.reference.as_ref();
    let by = reference.map_or_else(String::new, |id| {
        format!(", both computed by {}", digest.name(id))
    });
    format!(
        "Two verdicts, never mixed: \u{201c}work\u{201d} compares a quantised target with the model of its \
         own dequantised weights; fidelity compares that model with full precision{by}."
    )
}

/// One line a target with quantised weights that loaded the model.
fn kept(digest: &Digest<'_>) -> Vec<Vec<String>> {
    let result = digest.result;
    let targets = result.run.targets.iter();
    let quantised = targets.filter(|target| target.placement.precision.is_quantised());
    let loaded = quantised.filter(|id| result.targets.iter().any(|facts| facts.id == **id));
    let lines = loaded.filter_map(|target| {
        let storage = result.storage_of(target)?;
        let config = result.run.model.config.as_ref();
        let name = digest.name(target).to_string();
        Some(kept_cells(name, target, &storage, config).to_vec())
    });
    lines.collect()
}

fn kept_cells(
    name: String,
    target: &TargetId,
    storage: &Storage,
    config: Option<&GemmaConfig>,
) -> [String; KEPT_HEADER.len()] {
    let in_f32 = config.map(|config| config.storage(Dtype::F32.into()));
    let bits = |bytes: fn(&Storage) -> u64| {
        let weights = bytes(in_f32.as_ref()?) / Dtype::F32.size_bytes();
        let bits = bytes(storage) as f64 * 8.0 / weights as f64;
        (weights > 0).then(|| format!("{bits:.2}"))
    };
    let activations = match storage.activations {
        Activations::Kept => format!("kept in {}", target.placement.precision.compute()),
        Activations::Int8 => "rounded to 8 bits".to_owned(),
    };
    [
        name,
        bits(|storage| storage.layers_bytes).unwrap_or_default(),
        bits(|storage| storage.tables_bytes).unwrap_or_default(),
        units::bytes(storage.weights_bytes()),
        activations,
        storage.kv_cache.name().into(),
        format!("norms, biases: {}", units::bytes(storage.others_bytes)),
    ]
}

/// `93.1 %`.
fn same_token(figures: &CostFigures) -> String {
    let share = figures.same_top_positions as f64 / figures.positions.max(1) as f64;
    format!("{:.1} %", share * 100.0)
}

/// `13.61 ± 0.39`, `1.2e9 ± 3.4e8`.
fn perplexity(perplexity: &Perplexity) -> String {
    let Perplexity {
        value,
        standard_error,
    } = perplexity;
    match *value < 1e5 {
        true => format!("{value:.2} ± {standard_error:.2}"),
        false => format!("{value:.1e} ± {standard_error:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use mlxbench_core::gemma::preset;
    use mlxbench_core::{Scheme, WeightFormat};

    use super::*;

    fn cost(figures: Option<CostFigures>, reason: Option<&str>) -> QuantisationCost {
        QuantisationCost {
            weights: WeightFormat::Quantised(Scheme::Q4),
            figures,
            reason: reason.map(str::to_owned),
        }
    }

    #[test]
    fn a_cost_without_figures_says_why() {
        let reason = cost(None, Some("random weights have nothing to lose"));
        assert_eq!(
            fidelity_in_short(&reason),
            "q4: none, random weights have nothing to lose"
        );
        assert_eq!(
            fidelity_in_short(&cost(None, None)),
            "q4: none, it wasn't measured"
        );
        assert_eq!(cost_cells(&cost(None, None))[8], UNKNOWN);
    }

    #[test]
    fn a_model_that_is_lost_has_a_perplexity_that_fits_a_cell() {
        let of = |value, standard_error| {
            perplexity(&Perplexity {
                value,
                standard_error,
            })
        };
        assert_eq!(of(14.2, 0.408), "14.20 ± 0.41");
        assert_eq!(of(1.2e9, 3.4e8), "1.2e9 ± 3.4e8");
        assert_eq!(of(f64::MAX, f64::MAX), "1.8e308 ± 1.8e308");
    }

    #[test]
    fn bits_a_weight_have_scales_in_them() {
        let config = preset("gemma-3-270m").unwrap().config();
        let id: TargetId = "mlx/cpu/q4-bf16".parse().unwrap();
        let storage = config.storage(id.placement.precision);
        let cells = kept_cells(id.to_string(), &id, &storage, Some(&config));
        // A scale of 16 bits for each 64 weights; for each row of 640 in the table.
        assert_eq!([&cells[1], &cells[2]], ["4.25", "8.03"]);
        assert_eq!([&cells[4], &cells[5]], ["kept in bf16", "bf16"]);
        let unknown = kept_cells(id.to_string(), &id, &storage, None);
        assert_eq!([&unknown[1], &unknown[2]], ["", ""]);
    }
}
