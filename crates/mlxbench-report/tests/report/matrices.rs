//! What two machines found, made up: a Mac and a server.

use mlxbench_core::results::{Harness, Machine};
use mlxbench_core::trial::{
    BackendTrials, Case, Cell, Deviation, DeviceTrials, ElementType, MATRIX_SCHEMA, Matrix, Outcome,
};

/// Every operation on the CPU and, where there is one, on `gpu`, `ok` but for `others`.
pub(crate) fn matrix(
    cpu: &str,
    gpu: Option<&str>,
    others: &[(&str, ElementType, Outcome)],
) -> Matrix {
    let cells = || {
        let cells = Case::all().iter().flat_map(|case| {
            case.elements.iter().map(|&dtype| {
                let mut others = others.iter();
                let other = others.find(|(op, of, _)| *op == case.name && *of == dtype);
                Cell {
                    op: case.name.into(),
                    dtype,
                    outcome: other.map_or_else(ok, |(_, _, outcome)| outcome.clone()),
                }
            })
        });
        cells.collect::<Vec<_>>()
    };
    let devices = gpu.into_iter().chain(["cpu"]).map(|device| DeviceTrials {
        device: device.parse().expect("a device of ours"),
        description: None,
        stopped: None,
        cells: cells(),
    });
    Matrix {
        ops_schema_version: MATRIX_SCHEMA,
        interrupted: false,
        started: "2026-11-26T12:00:00Z".parse().expect("a time"),
        mlxbench: Harness {
            version: "0.1.0".into(),
            commit: Some("1234567".into()),
            profile: "release".into(),
            compiler: None,
            compiler_flags: None,
        },
        machine: Machine {
            os: "a system 1.0".into(),
            kernel: None,
            arch: "aarch64".into(),
            cpu: cpu.into(),
            physical_cores: Some(8),
            performance_cores: None,
            efficiency_cores: None,
            logical_cores: 8,
            memory_bytes: 16 << 30,
            gpu: None,
        },
        backends: vec![
            BackendTrials {
                backend: "mlx".into(),
                identity: None,
                fault: None,
                untried: Some(
                    "the worker `mlxbench-worker-mlx` is neither beside mlxbench nor on PATH"
                        .into(),
                ),
                devices: Vec::new(),
            },
            BackendTrials {
                backend: "tch".into(),
                identity: None,
                untried: None,
                fault: None,
                devices: devices.collect(),
            },
        ],
    }
}

fn ok() -> Outcome {
    Outcome::Ok {
        furthest: Deviation {
            at: vec![0],
            got: Some(1.0),
            expected: 1.0,
            limit: 0.0,
        },
    }
}

/// A Mac on which some things don't work, and a server on which fewer don't.
pub(crate) fn two() -> [Matrix; 2] {
    let missing = Outcome::Missing {
        message: "min/max ops are not supported for int64 on macOS before 13.3".into(),
    };
    let wrong = Outcome::Wrong {
        message: "[0, 1, 3, 7] is 0.5 where 0.25 is right: off by 0.25, with a limit of 0.01"
            .into(),
        furthest: None,
    };
    let crashes = Outcome::Crashes {
        message: "the worker died (signal 6); its last words: failed assertion".into(),
    };
    let (i64, bf16, f16) = (ElementType::I64, ElementType::Bf16, ElementType::F16);
    let mac = [
        ("min", i64, missing.clone()),
        ("max", i64, missing),
        ("attention-causal", bf16, wrong.clone()),
        ("attention-causal", f16, wrong.clone()),
        ("top-k", f16, crashes),
    ];
    let server = [("attention-causal", bf16, wrong)];
    [
        matrix("A Mac", Some("mps"), &mac),
        matrix("A server", None, &server),
    ]
}
