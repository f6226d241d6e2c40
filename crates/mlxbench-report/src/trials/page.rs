//! Matrices for a browser: one page without a script, which asks the network for nothing.

use maud::{Markup, html};
use mlxbench_core::trial::{Case, ElementType};

use super::{Group, Table, machine, versions};
use crate::html::document;

const PAGE_STYLE: &str = include_str!("page.css");

/// The style of a [`section`].
pub(crate) const STYLE: &str = include_str!("matrix.css");

pub(super) fn render(table: &Table<'_>) -> String {
    let title = "Which operations work";
    let body = html! {
        header {
            p class="brand" { "mlxbench" }
            h1 { (title) }
        }
        main.operations { (all(table, |name| html! { h2 { (name) } })) }
    };
    let style = format!("{PAGE_STYLE}{STYLE}");
    document(&format!("{title} - mlxbench"), &style, None, body)
}

/// The matrices as a part of a report.
pub(super) fn section(table: &Table<'_>) -> Markup {
    html! {
        section.operations #operations {
            h2 { "Which operations work" }
            (all(table, |name| html! { h3 { (name) } }))
        }
    }
}

fn all(table: &Table<'_>, heading: impl Fn(&str) -> Markup) -> Markup {
    html! {
        (machines(table))
        (matrix(table))
        (heading("What isn't ok"))
        (details(table))
        (heading("What the words mean"))
        (words())
        (heading("What is tried"))
        (tried(table))
    }
}

fn machines(table: &Table<'_>) -> Markup {
    html! {
        ul class="machines" {
            @for (at, of) in table.matrices.iter().enumerate() {
                @let letter = table.letter(at);
                li {
                    @if !letter.is_empty() { b { (letter) } ": " }
                    (machine(&of.machine)) ". " (versions(of)) ", " (of.started.strftime("%Y-%m-%d %H:%M UTC"))
                    ": " (table.counts(at)) "."
                    @for note in table.notes(at) { " " (note) "." }
                }
            }
        }
    }
}

fn matrix(table: &Table<'_>) -> Markup {
    if table.groups.is_empty() {
        return html! { p { "No operation was tried." } };
    }
    let differences = table.differences();
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="The matrix" {
            table {
                caption {
                    "Each operation by the framework's own function, against plain Rust in f64."
                    @if differences > 0 {
                        " ≠: not the same on all machines (" (differences) " cells)."
                    }
                }
                thead {
                    tr {
                        th scope="col" rowspan="2" { "operation" }
                        @for group in &table.groups {
                            th scope="colgroup" class="edge" colspan=(group.columns.len()) { (table.label(group)) }
                        }
                    }
                    tr {
                        @for group in &table.groups {
                            @for (at, element) in group.columns.iter().enumerate() {
                                th scope="col" class=[(at == 0).then_some("edge")] { (element) }
                            }
                        }
                    }
                }
                tbody {
                    @for row in &table.rows {
                        tr {
                            th scope="row" { (row) }
                            @for group in &table.groups {
                                @for (at, &element) in group.columns.iter().enumerate() {
                                    (cell(table, group, row, element, at == 0))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(
    table: &Table<'_>,
    group: &Group<'_>,
    row: &str,
    element: ElementType,
    first: bool,
) -> Markup {
    let first = if first { " edge" } else { "" };
    let Some(outcome) = group.cells.get(&(row, element)) else {
        return html! { td class={ "none" (first) } { "-" } };
    };
    let differs = table.differs(group, row, element);
    let mark = if differs { " differs" } else { "" };
    html! {
        td class={ (outcome.name()) (mark) (first) } title=[outcome.message()] {
            (outcome.name())
            @if differs { " ≠" }
        }
    }
}

fn details(table: &Table<'_>) -> Markup {
    let details = table.details();
    html! {
        @if details.is_empty() { p { "Nothing: all that was tried is ok." } }
        @else {
            dl {
                @for detail in &details {
                    dt {
                        b class=(detail.status) { (detail.status) } " on "
                        (table.label(&table.groups[detail.group])) ": " (detail.cells())
                    }
                    dd { (detail.message) }
                }
            }
        }
    }
}

fn words() -> Markup {
    html! {
        ul {
            li { b { "ok" } ": every number is as near to the right one as the dtype allows." }
            li { b { "wrong" } ": one isn't; the worst is quoted with its limit." }
            li { b { "missing" } ": the framework refuses, in its own words." }
            li { b { "crashes" } ": the process died or gave no answer in time, or the device failed." }
            li { b { "unknown" } ": the worker doesn't know the operation. " b { "-" } ": there is no such trial." }
        }
    }
}

fn tried(table: &Table<'_>) -> Markup {
    let known = Case::all()
        .iter()
        .filter(|case| table.rows.contains(&case.name));
    html! {
        dl class="tried" {
            @for case in known {
                dt { (case.name) }
                dd { (case.about) }
            }
        }
    }
}
