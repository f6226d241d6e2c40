//! Which operations work where: one machine's matrix, or several side by side with what differs marked.
//!
//! | module | its subject |
//! |---|---|
//! | `text` | for a terminal, in blocks of 80 columns |
//! | `page` | for a browser, alone and in a report |
//! | `markdown` | for GitHub |

mod markdown;
mod page;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use mlxbench_core::results::Machine;
use mlxbench_core::trial::{Case, Cell, ElementType, Matrix, Outcome};

/// The matrices in text.
pub fn trials_text(matrices: &[Matrix]) -> String {
    text::render(&Table::of(matrices))
}

/// The matrices as a page.
pub fn trials_page(matrices: &[Matrix]) -> Vec<u8> {
    page(matrices).into_bytes()
}

pub(crate) fn page(matrices: &[Matrix]) -> String {
    page::render(&Table::of(matrices))
}

/// The style of a [`section`].
pub(crate) use page::STYLE;

pub(crate) use markdown::{HEADING, OPERATION};

/// What becomes of operations, the best first.
pub(crate) const STATUSES: [&str; 5] = ["ok", "wrong", "crashes", "missing", "unknown"];

/// Said of a machine without any.
pub(crate) const NOTHING: &str = "nothing was tried";

/// The matrices as a part of a page with results.
pub(crate) fn section(matrices: &[Matrix]) -> maud::Markup {
    page::section(&Table::of(matrices))
}

/// The matrices as a section in Markdown.
pub(crate) fn markdown(matrices: &[Matrix]) -> String {
    markdown::render(&Table::of(matrices))
}

/// What all forms show.
struct Table<'a> {
    matrices: &'a [Matrix],
    /// Names of rows: those that this mlxbench knows in its order, then others.
    rows: Vec<&'a str>,
    /// The devices, those of the same backend and name beside one another.
    groups: Vec<Group<'a>>,
    /// What was found for a cell of a backend's device, on whatever machine.
    found: BTreeMap<(&'a str, String), BTreeMap<Place<'a>, BTreeSet<&'static str>>>,
}

/// An operation in a dtype.
type Place<'a> = (&'a str, ElementType);

/// A device of a backend on a machine.
struct Group<'a> {
    /// Which of the matrices it is of.
    machine: usize,
    backend: &'a str,
    device: String,
    /// The dtypes that were tried.
    columns: Vec<ElementType>,
    cells: BTreeMap<Place<'a>, &'a Outcome>,
}

impl<'a> Table<'a> {
    fn of(matrices: &'a [Matrix]) -> Self {
        let mut groups = Vec::new();
        for (machine, matrix) in matrices.iter().enumerate() {
            for backend in &matrix.backends {
                for device in &backend.devices {
                    groups.push(Group::of(
                        machine,
                        &backend.backend,
                        &device.device.to_string(),
                        &device.cells,
                    ));
                }
            }
        }
        groups.sort_by_key(|group| (group.backend, group.device.clone(), group.machine));
        let mut found: BTreeMap<_, BTreeMap<_, BTreeSet<_>>> = BTreeMap::new();
        for group in &groups {
            let target = found.entry((group.backend, group.device.clone()));
            let target = target.or_default();
            for (&place, outcome) in &group.cells {
                target.entry(place).or_default().insert(outcome.name());
            }
        }
        let tried = groups.iter().flat_map(|group| group.cells.keys());
        let mut tried: BTreeSet<&str> = tried.map(|(op, _)| *op).collect();
        let known = Case::all().iter().map(|case| case.name);
        let mut rows: Vec<&str> = known.filter(|name| tried.remove(name)).collect();
        rows.extend(tried);
        Self {
            matrices,
            rows,
            groups,
            found,
        }
    }

    /// Whether another machine found something else for the same backend, device, operation and dtype.
    fn differs(&self, group: &Group<'_>, op: &str, element: ElementType) -> bool {
        let target = self.found.get(&(group.backend, group.device.clone()));
        let found = target.and_then(|places| places.get(&(op, element)));
        group.cells.contains_key(&(op, element)) && found.is_some_and(|names| names.len() > 1)
    }

    /// Cells that another machine has otherwise.
    fn differences(&self) -> usize {
        let cells = self.groups.iter().flat_map(|group| {
            let cells = group.cells.keys();
            cells.filter(|(op, element)| self.differs(group, op, *element))
        });
        cells.count()
    }

    /// `A` for the first machine of several, nothing for a single one.
    fn letter(&self, machine: usize) -> String {
        match self.matrices.len() {
            1 => String::new(),
            // As the columns of a spreadsheet, as far as anybody lays machines side by side.
            _ => match u8::try_from(machine).ok().filter(|machine| *machine < 26) {
                Some(machine) => char::from(b'A' + machine).to_string(),
                None => format!("#{}", machine + 1),
            },
        }
    }

    /// `A tch/mps`.
    fn label(&self, group: &Group<'_>) -> String {
        let letter = self.letter(group.machine);
        format!("{letter} {}/{}", group.backend, group.device)
            .trim_start()
            .to_owned()
    }

    /// What isn't `ok`, the same words of a device together.
    fn details(&self) -> Vec<Detail<'_>> {
        let mut details: Vec<Detail<'_>> = Vec::new();
        let mut known = BTreeMap::new();
        for (at, group) in self.groups.iter().enumerate() {
            for &op in &self.rows {
                for &element in &group.columns {
                    let Some(outcome) = group.cells.get(&(op, element)) else {
                        continue;
                    };
                    let Some(message) = outcome.message() else {
                        continue;
                    };
                    let place = known.entry((at, outcome.name(), message));
                    let place = *place.or_insert(details.len());
                    if place == details.len() {
                        details.push(Detail {
                            group: at,
                            status: outcome.name(),
                            message,
                            cells: Vec::new(),
                        });
                    }
                    details[place].add(op, element);
                }
            }
        }
        // What gives wrong numbers without a word comes first.
        let order = ["wrong", "crashes", "missing", "unknown"];
        details.sort_by_key(|detail| order.iter().position(|status| *status == detail.status));
        details
    }

    /// `2 wrong, 90 ok` of one machine.
    fn counts(&self, machine: usize) -> String {
        let counts = self.matrices[machine].counts();
        let told = STATUSES.iter().filter_map(|status| {
            let count = counts.get(status)?;
            Some(format!("{count} {status}"))
        });
        let told: Vec<String> = told.collect();
        match told.is_empty() {
            true => NOTHING.into(),
            false => told.join(", "),
        }
    }

    /// What of one machine was not tried, or not to its end, with the reason.
    fn notes(&self, machine: usize) -> impl Iterator<Item = String> {
        let matrix = &self.matrices[machine];
        let untried = matrix.backends.iter().filter_map(|of| {
            let reason = of.untried.as_deref()?;
            Some(format!("{} wasn't tried: {reason}", of.backend))
        });
        let given_up = matrix.given_up().map(|(backend, device, reason)| {
            let device = device.map(|device| format!("/{device}"));
            let device = device.unwrap_or_default();
            format!("{backend}{device} was given up: {reason}")
        });
        let interrupted = matrix.interrupted;
        let interrupted = interrupted.then(|| "interrupted before all was tried".to_owned());
        interrupted.into_iter().chain(untried).chain(given_up)
    }
}

impl<'a> Group<'a> {
    fn of(machine: usize, backend: &'a str, device: &str, cells: &'a [Cell]) -> Self {
        let tried = |element: &ElementType| cells.iter().any(|cell| cell.dtype == *element);
        Self {
            machine,
            backend,
            device: device.to_owned(),
            columns: ElementType::ALL.into_iter().filter(tried).collect(),
            cells: cells
                .iter()
                .map(|cell| ((cell.op.as_str(), cell.dtype), &cell.outcome))
                .collect(),
        }
    }
}

/// Cells of a device about which there is the same to say.
struct Detail<'a> {
    /// Of [`Table::groups`].
    group: usize,
    status: &'static str,
    message: &'a str,
    cells: Vec<(&'a str, Vec<ElementType>)>,
}

impl<'a> Detail<'a> {
    fn add(&mut self, op: &'a str, element: ElementType) {
        // Rows come one after the other.
        match self.cells.last_mut() {
            Some((last, elements)) if *last == op => elements.push(element),
            _ => self.cells.push((op, vec![element])),
        }
    }

    /// `sort (f32, f16), top-k (f32)`.
    fn cells(&self) -> String {
        let cells = self.cells.iter().map(|(op, elements)| {
            let names: Vec<&str> = elements.iter().map(|element| element.name()).collect();
            format!("{op} ({})", names.join(", "))
        });
        cells.collect::<Vec<_>>().join(", ")
    }
}

/// `Apple M2 Max, macOS 15.1, 32 GiB`.
fn machine(machine: &Machine) -> String {
    let memory = crate::units::bytes(machine.memory_bytes);
    format!("{}, {}, {memory}", machine.cpu, machine.os)
}

/// `PyTorch 2.13.0, MLX 0.32.0`, and by which mlxbench.
fn versions(matrix: &Matrix) -> String {
    let frameworks = matrix.backends.iter().filter_map(|of| {
        let identity = of.identity.as_ref()?;
        Some(format!("{} {}", identity.framework, identity.version))
    });
    let harness = &matrix.mlxbench;
    let commit = harness.commit.iter().map(|commit| format!("({commit})"));
    let ours: Vec<String> = [format!("mlxbench {}", harness.version)]
        .into_iter()
        .chain(commit)
        .collect();
    frameworks
        .chain([ours.join(" ")])
        .collect::<Vec<_>>()
        .join(", ")
}
