//! Runs that are killed or interrupted at each request to their workers, one after the other: loading,
//! probes, the check of equivalence, warm-up, measuring. Nothing that was measured is lost.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Scene, TEST, scripted, stderr};

/// How long something is waited for that takes a moment.
const LONG: Duration = Duration::from_secs(60);

/// Every step that a run has, each short.
const EVERY_STEP: &str = "[measure]\nrepetitions = 2\nmax_warmup = 2\n\
    [equivalence]\nreference = \"mock/cpu/f32\"\npositions = 3\n\
    [roofline]\nseconds = 0.000001\n";

/// A worker that answers as many requests as the file `left` says, over all its processes, and none
/// from then on.
const LIMITED: &str = r#"while IFS= read -r line; do
    read -r left < left
    echo $((left - 1)) > left
    printf '%s\n' "$line" >> requests
    if [ "$left" -le 0 ]; then cat > /dev/null; fi
    printf '%s\n' "$line"
done | WORKER"#;

struct Limited {
    scene: Scene,
}

impl Limited {
    fn new() -> Self {
        let scene = Scene::new();
        // The reference isn't compared with itself, so there are two targets.
        let targets = scripted(LIMITED).replace(r#"["f32"]"#, r#"["f32", "bf16"]"#);
        scene.whole_config(&format!("{EVERY_STEP}{TEST}{targets}"));
        Self { scene }
    }

    fn limit(&self, requests: usize) {
        std::fs::write(self.scene.path("left"), format!("{requests}\n")).unwrap();
        std::fs::write(self.scene.path("requests"), "").unwrap();
    }

    fn requests(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.scene.path("requests")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn start(&self, out: &str, more: &[&str]) -> Child {
        let arguments = ["run", "config.toml", "--out", out];
        let mut command = self.scene.command(&[&arguments, more].concat());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Starts a run, ends it with `stop` while it waits for the answer to request `number`, and has
    /// another one resume it.
    fn stop_at(&self, number: usize, stop: fn(&mut Child)) {
        let out = format!("out-{number}");
        self.limit(number);
        let mut run = self.start(&out, &[]);
        wait_until("the request", || self.requests().len() > number);
        let request = self.requests().remove(number);
        stop(&mut run);
        run.wait().unwrap();
        let measured = measured(&self.scene.path(&out));

        self.limit(1_000_000);
        let journal = self.scene.path(&out).join("scene").is_dir();
        let resume: &[&str] = if journal { &["--resume"] } else { &[] };
        let mut resumed = self.start(&out, resume);
        end_of(&mut resumed);
        let resumed = resumed.wait_with_output().unwrap();
        let told = stderr(&resumed);
        assert_eq!(resumed.status.code(), Some(0), "after {request}: {told}");
        let result = self::measured(&self.scene.path(&out));
        assert_eq!(result.len(), 4, "after {request}");
        for sample in measured {
            assert!(result.contains(&sample), "{request} lost {sample}");
        }
    }

    fn stop_everywhere(&self, stop: fn(&mut Child)) {
        self.limit(1_000_000);
        assert!(self.start("whole", &[]).wait().unwrap().success());
        let kinds: Vec<String> = self.requests().iter().map(|r| kind(r)).collect();
        for asked in ["hello", "load", "probe", "score", "generate"] {
            assert!(kinds.iter().any(|kind| kind == asked), "no {asked}");
        }
        // Of requests of one kind in a row, as the probes are, the first and the last.
        for number in 0..kinds.len() {
            let before = number.checked_sub(1).map(|before| &kinds[before]);
            if before != Some(&kinds[number]) || kinds.get(number + 1) != Some(&kinds[number]) {
                self.stop_at(number, stop);
            }
        }
    }
}

/// The `type` of a request.
fn kind(request: &str) -> String {
    let request: Value = serde_json::from_str(request).unwrap();
    request["type"].as_str().unwrap().to_owned()
}

/// When each repetition was started that the newest journal or result in `out` holds.
fn measured(out: &Path) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(out.join("scene")) else {
        return Vec::new();
    };
    let mut starts = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        // A journal has a value a line, a result is one.
        let values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        for value in values {
            collect_starts(&value.unwrap(), &mut starts);
        }
    }
    starts
}

/// The `started` of every sample in `value`.
fn collect_starts(value: &Value, starts: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let sample = fields.contains_key("repetition");
            if let (true, Some(Value::String(start))) = (sample, fields.get("started")) {
                starts.push(start.clone());
            }
            fields
                .values()
                .for_each(|value| collect_starts(value, starts));
        }
        Value::Array(values) => values
            .iter()
            .for_each(|value| collect_starts(value, starts)),
        _ => {}
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "{what} doesn't come about");
        std::thread::yield_now();
    }
}

fn end_of(run: &mut Child) -> ExitStatus {
    let mut status = None;
    wait_until("the end of the run", || {
        status = run.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

fn interrupt(run: &mut Child) {
    let pid = run.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_run_that_is_killed_at_any_request_goes_on_where_it_was() {
    Limited::new().stop_everywhere(|run| run.kill().unwrap());
}

#[test]
fn a_run_that_is_interrupted_twice_at_any_request_goes_on_where_it_was() {
    Limited::new().stop_everywhere(|run| {
        interrupt(run);
        interrupt(run);
        assert_eq!(end_of(run).code(), Some(130));
    });
}
