//! Results of older versions, read as if they had been written today.
//!
//! Each step takes a JSON document one version further. What an older version didn't measure stays
//! absent; what it said elsewhere is moved.

use serde_json::Value;

use super::{Record, RunResult, SCHEMA_VERSION};

/// Reads the result file `text` of any version up to [`SCHEMA_VERSION`].
///
/// # Errors
/// When it isn't JSON, isn't a result, is of a version that isn't known, or has a number that can't be.
pub fn result(text: &str) -> Result<RunResult, String> {
    // What was written today is read ten times as fast when no document is made of it first.
    if let Ok(result) = serde_json::from_str::<RunResult>(text)
        && result.schema_version == SCHEMA_VERSION
    {
        result.check()?;
        return Ok(result);
    }
    let mut value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let version = value.get("schema_version").and_then(Value::as_u64);
    match version.and_then(|version| u32::try_from(version).ok()) {
        Some(1) => {
            from_1(&mut value);
            from_2(&mut value);
        }
        Some(2) => from_2(&mut value),
        Some(SCHEMA_VERSION) => {}
        Some(other) => {
            return Err(format!(
                "schema version {other} is not known: this mlxbench reads 1 to {SCHEMA_VERSION}"
            ));
        }
        None => return Err("it has no schema_version".into()),
    }
    let result: RunResult = serde_json::from_value(value).map_err(|error| error.to_string())?;
    result.check()?;
    Ok(result)
}

/// Reads one line of a journal.
///
/// # Errors
/// When it isn't a record of this version: a journal is gone on with by the build that began it.
pub fn record(line: &str) -> Result<Record, String> {
    serde_json::from_str(line).map_err(|error| match is_of_2(line) {
        true => format!(
            "an older mlxbench wrote this journal, with results of schema version 2 or below: let that \
             one continue it with --resume, this one reads its result ({error})"
        ),
        false => error.to_string(),
    })
}

/// Whether a journal's line is a run as version 2 and before wrote it: with a dtype for a precision.
fn is_of_2(line: &str) -> bool {
    let record: Value = serde_json::from_str(line).unwrap_or_default();
    record.pointer("/targets/0/placement/dtype").is_some()
}

/// Version 1 had one mode for all tests, in the settings.
fn from_1(result: &mut Value) {
    let settings = result.pointer_mut("/run/settings");
    let settings = settings.and_then(Value::as_object_mut);
    let mode = settings.and_then(|settings| settings.remove("mode"));
    let set_mode = |test: Option<&mut Value>| {
        if let (Some(Value::Object(test)), Some(mode)) = (test, &mode) {
            test.insert("mode".into(), mode.clone());
        }
    };
    each(result, "/run/tests", |test| set_mode(Some(test)));
    for list in ["/samples", "/failures"] {
        each(result, list, |of_test| set_mode(of_test.get_mut("test")));
    }
}

/// Version 2 had one dtype for weights and computation, and tests of one kind.
fn from_2(result: &mut Value) {
    let placement_of = |target: Option<&mut Value>| {
        let placement = target.and_then(|target| target.get_mut("placement"));
        if let Some(placement) = placement.and_then(Value::as_object_mut)
            && let Some(dtype) = placement.remove("dtype")
        {
            placement.insert("precision".into(), dtype);
        }
    };
    placement_of(result.pointer_mut("/run/settings/reference"));
    each(result, "/run/targets", |target| placement_of(Some(target)));
    each(result, "/targets", |facts| {
        placement_of(facts.get_mut("id"))
    });
    for list in [
        "/equivalences",
        "/products",
        "/warmups",
        "/samples",
        "/failures",
    ] {
        each(result, list, |of_target| {
            placement_of(of_target.get_mut("target"));
        });
    }
    let kind_of = |test: Option<&mut Value>| {
        if let Some(Value::Object(test)) = test {
            test.insert("kind".into(), "generate".into());
        }
    };
    each(result, "/run/tests", |test| kind_of(Some(test)));
    for list in ["/warmups", "/samples", "/failures", "/stopped"] {
        each(result, list, |of_test| kind_of(of_test.get_mut("test")));
    }
    result["schema_version"] = SCHEMA_VERSION.into();
}

/// Does `change` to each element of the list at `pointer`, where there is one.
fn each(value: &mut Value, pointer: &str, change: impl FnMut(&mut Value)) {
    let list = value.pointer_mut(pointer).and_then(Value::as_array_mut);
    list.into_iter().flatten().for_each(change);
}
