//! Every operation of the matrix once, for an adapter's tests.

use mlxbench_core::trial::{Case, ElementType, Program};
use mlxbench_core::{Backend, Device, Result};

/// The cells of the CPU that aren't `ok`, each with what is wrong or missing: `sort i64: no such thing`. Exceptions that
/// are known belong into the adapter's test, with their reasons.
pub fn not_ok<B: Backend>(backend: &mut B) -> Vec<String> {
    let mut found = Vec::new();
    for case in Case::all() {
        assert!(
            backend
                .tries()
                .contains(&case.program(case.elements[0]).op())
        );
        for &element in case.elements {
            let program = case.program(element);
            if let Some(what) = what_is_off(backend, &program, element) {
                found.push(format!("{} {element}: {what}", case.name));
            }
        }
    }
    found
}

/// Whether an attention that leaves its mask out is seen to be wrong in every dtype.
///
/// # Errors
/// When the framework refuses attention in one of them.
pub fn sees_a_mask_that_is_left_out<B: Backend>(backend: &mut B) -> Result<bool> {
    let named = |name| Case::all().iter().find(|case| case.name == name);
    let case = named("attention-causal").expect("a case of ours");
    let without = |program| match program {
        Program::Attention {
            queries,
            keys,
            values,
            scale,
            ..
        } => Program::Attention {
            queries,
            keys,
            values,
            scale,
            causal: false,
            mask: None,
        },
        other => other,
    };
    let mut is_seen = true;
    for &element in case.elements {
        let program = case.program(element);
        let expected = program.expected(element).expect("cases fit");
        let output = backend.attempt(&without(program), element, &Device::cpu())?;
        is_seen &= expected
            .compare(&output)
            .is_ok_and(|furthest| !furthest.is_within());
    }
    Ok(is_seen)
}

/// What comes out of `program` on the CPU, held against what should.
fn what_is_off<B: Backend>(
    backend: &mut B,
    program: &Program,
    element: ElementType,
) -> Option<String> {
    let expected = program.expected(element).expect("cases fit");
    match backend.attempt(program, element, &Device::cpu()) {
        Err(error) => Some(error.to_string()),
        Ok(output) => match expected.compare(&output) {
            Ok(furthest) if furthest.is_within() => None,
            Ok(furthest) => Some(format!("{furthest:?}")),
            Err(shape) => Some(shape),
        },
    }
}
