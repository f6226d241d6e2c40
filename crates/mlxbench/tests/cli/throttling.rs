//! A whole run on a scripted device: `MLXBENCH_TEST_DEVICE` stands for its meter and sensors, and the mock
//! takes it from state to state, one a generation.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Scene, TEST, mock, stderr, stdout, worker};

/// A cool device whose energy can't be read, so that nobody waits for its idle power.
const COOL: &str = r#"{"clock_mhz": 1980, "memory_clock_mhz": 2619, "temperature_celsius": 55.0, "throttle_reasons": []}"#;
const HOT: &str = r#"{"clock_mhz": 900, "temperature_celsius": 91.0, "throttle_reasons": ["hw_slowdown", "hw_thermal_slowdown"]}"#;

/// Three repetitions after one of warm-up.
const MEASURE: &str =
    "[measure]\nrepetitions = 3\nprocesses = 1\nmax_warmup = 1\nthrottle_pause_seconds = 0.01\n";

/// Writes the state before the run, and one a generation: the last stays.
fn device(scene: &Scene, before: &str, states: &[&str]) {
    std::fs::write(scene.path("device.json"), before).unwrap();
    std::fs::write(scene.path("states"), states.join("\n")).unwrap();
}

fn command(scene: &Scene, arguments: &[&str]) -> Command {
    let mut command = scene.command(arguments);
    command.env("MLXBENCH_TEST_DEVICE", scene.path("device.json"));
    command
}

fn run(scene: &Scene, arguments: &[&str]) -> Output {
    command(scene, arguments).output().unwrap()
}

/// The mock that takes the device through its states.
fn heater(arguments: &[&str]) -> String {
    mock(
        "mock",
        &[&["--device-states", "states"], arguments].concat(),
    )
}

/// Repetition, attempt and mark of each sample.
fn measured(result: &Value) -> Vec<(u64, u64, bool)> {
    let samples = result["samples"].as_array().unwrap().iter();
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    samples
        .map(|sample| {
            let throttled = sample["throttled"].as_bool().unwrap_or(false);
            (
                number(&sample["repetition"]),
                number(&sample["attempt"]),
                throttled,
            )
        })
        .collect()
}

#[test]
fn a_throttled_repetition_is_measured_again_and_left_out() {
    let scene = Scene::new();
    device(&scene, COOL, &[COOL, COOL, HOT, COOL]);
    scene.config(&format!("{MEASURE}{TEST}{}", heater(&[])));
    let output = run(&scene, &["run", "config.toml"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let result = scene.result();
    let expected = [(0, 0, false), (1, 0, true), (1, 1, false), (2, 0, false)];
    assert_eq!(measured(&result), expected);
    let conditions = &result["samples"][1]["conditions"];
    assert_eq!(conditions["clock_mhz"]["median"], 900);
    assert_eq!(conditions["max_temperature_celsius"], 91.0);
    assert_eq!(conditions["throttle_reasons"]["hw_thermal_slowdown"], 1.0);
    assert_eq!(conditions["every_ns"], 100_000_000);

    let told = stderr(&output);
    let line =
        "2/3: throttled: hw_slowdown, hw_thermal_slowdown: measured again after 0.01 s of rest\n";
    assert!(told.contains(line), "{told}");
    assert!(told.contains("2/3, again\n"), "{told}");
    let shown = stdout(&output);
    assert!(
        shown.contains(": throttled and left out: 1 of 4 measurements"),
        "{shown}"
    );
    let warning = "the device was throttled in 1 of 4 measurements: hw_slowdown, hw_thermal_slowdown; excluded";
    assert!(shown.contains(warning), "{shown}");

    let schema = scene.mlxbench(&["schema", "result"]);
    let schema: Value = serde_json::from_slice(&schema.stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&result));
    let mut wrong = result;
    wrong["samples"][1]["conditions"]["clock_mhz"]["median"] = "fast".into();
    assert!(!validator.is_valid(&wrong));

    let file = scene.written("Z.json");
    let markdown = scene.mlxbench(&["report", file.to_str().unwrap(), "--format", "md"]);
    let table = "| mock f32 | pp8+tg5 | 1980 | 2619 | 55 | 0.0 % | 1 of 4 measurements";
    let markdown = stdout(&markdown);
    assert!(markdown.contains(table), "{markdown}");
}

#[test]
fn what_stays_throttled_counts_with_a_note_and_is_not_repeated_for_ever() {
    let scene = Scene::new();
    device(&scene, HOT, &[HOT]);
    scene.config(&format!(
        "{MEASURE}throttle_retries = 1\n{TEST}{}",
        heater(&[])
    ));
    let output = run(&scene, &["run", "config.toml"]);
    assert!(output.status.success(), "{}", stderr(&output));
    // The first repetition's retry was in vain: the others have none.
    let expected = [(0, 0, true), (0, 1, true), (1, 0, true), (2, 0, true)];
    assert_eq!(measured(&scene.result()), expected);
    let shown = stdout(&output);
    assert!(shown.contains("the device was throttled"), "{shown}");
    assert!(shown.contains("no other measurement is left"), "{shown}");
    let told = stderr(&output);
    assert!(
        told.contains("3/3: throttled: hw_slowdown, hw_thermal_slowdown: kept"),
        "{told}"
    );
}

#[test]
fn a_power_limit_is_told_and_not_measured_again() {
    let scene = Scene::new();
    let limited = r#"{"clock_mhz": 1410, "throttle_reasons": ["sw_power_cap"]}"#;
    device(&scene, COOL, &[COOL, COOL, limited]);
    scene.config(&format!("{MEASURE}{TEST}{}", heater(&[])));
    let output = run(&scene, &["run", "config.toml"]);
    assert_eq!(
        measured(&scene.result()),
        [(0, 0, false), (1, 0, false), (2, 0, false)]
    );
    let shown = stdout(&output);
    let told =
        "cpu was at its power limit in 1 row, most in mock f32 pp8+tg5 (67 % of the readings)";
    assert!(shown.contains(told), "{shown}");
    assert!(
        shown.contains("clock was 1410 MHz in one repetition, 1980 in another"),
        "{shown}"
    );
}

#[test]
fn a_slow_clock_without_a_reason_is_measured_again() {
    let scene = Scene::new();
    let slow = r#"{"clock_mhz": 1200, "throttle_reasons": []}"#;
    device(&scene, COOL, &[COOL, COOL, slow, COOL]);
    scene.config(&format!("{MEASURE}{TEST}{}", heater(&[])));
    let output = run(&scene, &["run", "config.toml"]);
    let expected = [(0, 0, false), (1, 0, true), (1, 1, false), (2, 0, false)];
    assert_eq!(measured(&scene.result()), expected);
    let told = stderr(&output);
    assert!(
        told.contains("a clock of 1200 MHz, 1980 in other repetitions"),
        "{told}"
    );
}

#[test]
fn a_pair_is_measured_again_on_both_sides() {
    let scene = Scene::new();
    device(&scene, COOL, &[HOT, COOL]);
    let measure =
        "[measure]\nrepetitions = 5\nprocesses = 1\nwarmup = 0\nthrottle_pause_seconds = 0.01\n";
    scene.config(&format!("{measure}{TEST}{}", heater(&[])));
    let program = worker("mlxbench-worker-mock");
    let side = format!("'{}' --device-states states", program.display());
    let output = run(&scene, &["run", "config.toml", "--ab", &side, &side]);
    let result = scene.result();
    let samples = result["samples"].as_array().unwrap();
    let of_side = |side: &str| {
        let own = samples
            .iter()
            .filter(|sample| sample["target"]["side"] == side);
        let first = own.filter(|sample| sample["repetition"] == 0);
        first
            .map(|sample| sample["attempt"].as_u64().unwrap_or(0))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (of_side("a"), of_side("b")),
        (vec![0, 1], vec![0, 1]),
        "{}",
        stderr(&output)
    );
    let throttled = samples.iter().filter(|sample| sample["throttled"] == true);
    assert_eq!(throttled.count(), 1);
    let rounds = result["stopped"][0]["repetitions"].as_u64().unwrap();
    assert_eq!(samples.len() as u64, 2 * rounds + 2);
}

#[test]
fn a_kill_before_the_second_measurement_loses_nothing() {
    let scene = Scene::new();
    device(&scene, COOL, &[COOL, HOT, COOL]);
    let measure = "[measure]\nrepetitions = 2\nprocesses = 1\nmax_warmup = 1\nthrottle_pause_seconds = 0.01\n";
    scene.config(&format!(
        "{measure}{TEST}{}",
        heater(&["--fault", "hang@3"])
    ));
    let mut killed = scene.wait_for("1/2, again", command(&scene, &["run", "config.toml"]));
    killed.kill().unwrap();
    killed.wait().unwrap();
    scene.config(&format!("{measure}{TEST}{}", heater(&[])));
    let output = run(&scene, &["run", "config.toml", "--resume"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let expected = [(0, 0, true), (0, 1, false), (1, 0, false)];
    assert_eq!(measured(&scene.result()), expected);
}

/// A generation of 0.4 s, and one of 2 ms.
const LONG_AND_SHORT: &str =
    "[[test]]\nprompt_tokens = 8\ngenerate_tokens = 5\n[[test]]\nprompt_tokens = 2\n";

#[test]
fn energy_is_that_of_five_periods_at_least() {
    let scene = Scene::new();
    let metered = r#"{"watts": 50.0, "period_ms": 20, "clock_mhz": 1980}"#;
    device(&scene, metered, &[metered]);
    let measure = "[measure]\nrepetitions = 1\nwarmup = 0\n";
    let slow = heater(&["--real-time", "--step-ns", "100000000"]);
    scene.config(&format!("{measure}{LONG_AND_SHORT}{slow}"));
    let output = run(&scene, &["run", "config.toml"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let result = scene.result();
    let meter = &result["run"]["power"][0];
    assert!(meter["period_ns"].as_u64() > Some(0), "{meter}");
    assert!(meter["idle_watts"].as_f64() > Some(0.0), "{meter}");
    let [long, short] = result["samples"].as_array().unwrap().as_slice() else {
        panic!("{result}");
    };
    assert!(long["energy_joules"].as_f64() > Some(0.0), "{long}");
    assert_eq!(short["energy_joules"], Value::Null);
    assert_eq!(short["energy_unavailable"], "short_repetition");
    let file = scene.written("Z.json");
    let markdown = scene.mlxbench(&["report", file.to_str().unwrap(), "--format", "md"]);
    let told = "1 repetition too short for energy (under 5 periods)";
    assert!(stdout(&markdown).contains(told), "{}", stdout(&markdown));
}

#[test]
fn a_meter_that_reads_0_w_under_load_gives_no_energy() {
    let scene = Scene::new();
    let sound = r#"{"watts": 50.0, "period_ms": 20}"#;
    let dead = r#"{"watts": 0.0, "period_ms": 20}"#;
    device(&scene, sound, &[sound, dead]);
    let measure = "[measure]\nrepetitions = 2\nprocesses = 1\nwarmup = 0\n";
    let slow = heater(&["--real-time", "--step-ns", "100000000"]);
    scene.config(&format!("{measure}{TEST}{slow}"));
    let output = run(&scene, &["run", "config.toml"]);
    let result = scene.result();
    for sample in result["samples"].as_array().unwrap() {
        assert_eq!(
            sample["energy_joules"],
            Value::Null,
            "the first one's is taken back"
        );
    }
    let meters = result["run"]["power"].as_array().unwrap();
    assert_eq!(meters.len(), 1);
    let why = meters[0]["unavailable"].as_str().unwrap();
    assert!(why.starts_with("it read 0.0 W over"), "{why}");
    assert!(
        stdout(&output).contains("cpu: no energy, since"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn doctor_tells_what_can_be_read_of_each_device() {
    let scene = Scene::new();
    device(&scene, COOL, &[]);
    let told = stdout(&run(&scene, &["doctor"]));
    let sensors = "clock 1980 MHz, memory clock 2619 MHz, temperature 55 °C, throttle reasons none";
    assert!(
        told.contains(&format!("power unknown, {sensors}")),
        "{told}"
    );
    let report: Value = serde_json::from_slice(&run(&scene, &["doctor", "--json"]).stdout).unwrap();
    assert_eq!(report["devices"]["cpu"]["reading"]["clock_mhz"], 1980);
    // Without a device that is scripted: what there is, or why it isn't read.
    let report = scene.mlxbench(&["doctor", "--json"]).stdout;
    let report: Value = serde_json::from_slice(&report).unwrap();
    let cpu = &report["devices"]["cpu"];
    for (told, why) in [
        ("meter", "energy_unavailable"),
        ("sensors", "sensors_unavailable"),
    ] {
        assert_ne!(cpu[told].is_string(), cpu[why].is_string(), "{cpu}");
    }
}
