//! What goes wrong by the script.

use std::str::FromStr;

use crate::trial::{ElementType, Program};
use crate::{Error, Result};

/// A scripted fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub(super) kind: FaultKind,
    /// The generation at which it happens, counted from 1.
    pub(super) at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// The process kills itself.
    Die,
    /// Nothing comes back.
    Hang,
    /// The framework reports a failure.
    Fail,
    /// The logits aren't finite.
    NotFinite,
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let parse = || {
            let (kind, at) = s.split_once('@')?;
            let kind = match kind {
                "die" => FaultKind::Die,
                "hang" => FaultKind::Hang,
                "fail" => FaultKind::Fail,
                "not-finite" => FaultKind::NotFinite,
                _ => return None,
            };
            Some(Self {
                kind,
                at: at.parse().ok()?,
            })
        };
        parse().ok_or_else(|| {
            Error::Invalid(format!(
                "`{s}`: write die@N, hang@N, fail@N or not-finite@N"
            ))
        })
    }
}

/// A scripted fault of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialFault {
    pub(super) kind: TrialFaultKind,
    pub(super) op: String,
    /// In which dtype; in all where it doesn't say.
    pub(super) element: Option<ElementType>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrialFaultKind {
    /// The first number that comes out is off by one.
    Wrong,
    /// The framework has no such operation.
    Missing,
    /// The process kills itself.
    Die,
    /// Nothing comes back.
    Hang,
}

impl FromStr for TrialFault {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let wrong = || {
            Error::Invalid(format!(
                "`{s}`: write wrong@OP, missing@OP, die@OP or hang@OP, with /DTYPE behind it or not"
            ))
        };
        let (kind, of) = s.split_once('@').ok_or_else(wrong)?;
        let kind = match kind {
            "wrong" => TrialFaultKind::Wrong,
            "missing" => TrialFaultKind::Missing,
            "die" => TrialFaultKind::Die,
            "hang" => TrialFaultKind::Hang,
            _ => return Err(wrong()),
        };
        let (op, element) = match of.split_once('/') {
            Some((op, element)) => (op, Some(element.parse()?)),
            None => (of, None),
        };
        match Program::OPS.contains(&op) {
            true => Ok(Self {
                kind,
                op: op.into(),
                element,
            }),
            false => Err(wrong()),
        }
    }
}
