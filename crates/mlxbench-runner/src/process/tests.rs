use super::*;

/// A worker that is a shell script.
fn shell(script: &str, timeout: Duration) -> Worker {
    let words = ["sh", "-c", script].map(str::to_owned);
    let command = crate::locate::worker_command("sh", Some(&words)).unwrap();
    Worker::start(&command, timeout, Interrupt::default()).unwrap()
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_worker_that_dies_is_quoted() {
    let mut worker = shell("read line; echo 'out of memory' >&2; exit 7", LONG);
    let error = worker.hello().unwrap_err();
    assert_eq!(error.kind, Some(FailureKind::Died));
    let expected = "the worker died (exit code 7); its last words: out of memory";
    assert_eq!(error.message, expected);
}

#[test]
fn a_library_that_is_missing_is_told_with_the_way_to_get_it() {
    let words = "worker: error while loading shared libraries: libtorch_cpu.so: cannot open";
    let error = shell(&format!("echo '{words}' >&2; exit 127"), LONG).hello();
    let error = error.unwrap_err();
    assert_eq!(error.kind, Some(FailureKind::Missing));
    assert!(
        error.message.contains("run scripts/setup; its last words"),
        "{error}"
    );
}

#[test]
fn what_a_dead_worker_started_dies_too() {
    let mut worker = shell(
        "read line; sleep 1000 >/dev/null 2>&1 & echo $! >&2; exit 7",
        LONG,
    );
    let message = worker.hello().unwrap_err().message;
    let pid = message.rsplit(' ').next().unwrap();
    let alive = std::process::Command::new("ps")
        .args(["-o", "stat=", "-p", pid])
        .output();
    let state = String::from_utf8(alive.unwrap().stdout).unwrap();
    assert!(
        state.is_empty() || state.starts_with('Z'),
        "{pid} is still there: {state}"
    );
}

#[test]
fn a_worker_that_kills_itself_is_told_by_its_signal() {
    let error = shell("read line; kill -KILL $$", LONG).hello().unwrap_err();
    assert!(error.message.contains("signal 9, SIGKILL"), "{error}");
}

#[test]
fn a_worker_that_hangs_is_killed() {
    let mut worker = shell("read line; read never", Duration::from_millis(50));
    assert_eq!(
        worker.hello().unwrap_err().kind,
        Some(FailureKind::TimedOut)
    );
}

#[test]
fn rubbish_is_quoted() {
    let mut worker = shell("read line; echo 'Loading shards: 100%'; read never", LONG);
    let error = worker.hello().unwrap_err();
    assert_eq!(error.kind, Some(FailureKind::Protocol));
    assert!(
        error.message.contains("\"Loading shards: 100%\""),
        "{error}"
    );
}

#[test]
fn bytes_that_are_no_text_are_a_protocol_error() {
    let error = shell(r"read line; printf '\377\376\n'; read never", LONG)
        .hello()
        .unwrap_err();
    assert_eq!(error.kind, Some(FailureKind::Protocol));
}

/// What comes of a worker that answers the introduction with `reply`.
fn introduced(reply: &str) -> WorkerError {
    let script = format!("read line; printf '%s\\n' '{reply}'; read never");
    shell(&script, LONG).hello().unwrap_err()
}

#[test]
fn another_protocol_is_refused_with_what_to_do() {
    for (protocol, devices) in [
        (1, "[]"),
        (2, "[]"),
        // Its messages may have another form, too.
        (1, r#"[{"device":"cpu","dtypes":"any"}]"#),
    ] {
        let error = introduced(&format!(
            r#"{{"type":"hello","protocol":{protocol},"identity":{{"backend":"x","framework":"x","version":"1"}},"devices":{devices}}}"#
        ));
        assert_eq!(error.kind, Some(FailureKind::Protocol));
        let says =
            format!("protocol {protocol}, mlxbench 3: build both from one checkout, or change");
        assert!(error.message.contains(&says), "{error}");
        assert!(error.message.contains("PROTOCOL.md"), "{error}");
    }
}

#[test]
fn a_worker_that_refuses_our_protocol_is_told_with_what_to_do() {
    let error = introduced(
        r#"{"type":"error","kind":"invalid","message":"this worker speaks protocol 1, the runner 3"}"#,
    );
    let expected = "this worker speaks protocol 1, the runner 3 (mlxbench speaks protocol 3: if the \
                    worker is of another, change the worker as crates/mlxbench-core/PROTOCOL.md tells)";
    assert_eq!(error.message, expected);
}

#[test]
fn an_answer_that_does_not_add_up_is_refused() {
    let reply =
        r#"{"type":"generated","tokens":[[1]],"token_ns":[5],"finite":true,"form":"synchronous"}"#;
    let mut worker = shell(&format!("read line; echo '{reply}'; read never"), LONG);
    let generate = Generate {
        context: None,
        prompt: mlxbench_core::TokenBatch::row(vec![2]),
        new_tokens: 2,
        chunk: 1,
        mode: mlxbench_core::generate::Mode::Pipelined,
        stop: vec![],
        logits: None,
    };
    let error = worker.generate(generate, 64).unwrap_err();
    assert_eq!(error.kind, Some(FailureKind::Protocol), "{error}");
}

#[test]
fn an_interrupt_ends_the_wait() {
    let mut worker = shell("read line; read never", LONG);
    worker.interrupt.set();
    assert_eq!(worker.hello().unwrap_err().kind, None);
}

/// A request that no pipe takes as a whole.
fn long_request() -> Generate {
    Generate {
        context: None,
        prompt: mlxbench_core::TokenBatch::row(vec![200_000; 100_000]),
        new_tokens: 1,
        chunk: 512,
        mode: mlxbench_core::generate::Mode::Pipelined,
        stop: vec![],
        logits: None,
    }
}

#[test]
fn a_request_that_nobody_reads_has_the_same_deadline() {
    let mut worker = shell("sleep 1000", Duration::from_millis(50));
    let error = worker.generate(long_request(), 64).unwrap_err();
    assert_eq!(error.kind, Some(FailureKind::TimedOut), "{error}");
}

#[test]
fn an_interrupt_ends_the_writing_of_a_request_that_nobody_reads() {
    let mut worker = shell("sleep 1000", LONG);
    worker.interrupt.set();
    assert_eq!(worker.generate(long_request(), 64).unwrap_err().kind, None);
}

#[test]
fn a_long_request_arrives_whole() {
    // What comes back says how many bytes came in.
    let script = r#"length=$(head -n 1 | wc -c); echo "$length" >&2; exit 1"#;
    let error = shell(script, LONG)
        .generate(long_request(), 64)
        .unwrap_err();
    let sent = serde_json::to_vec(&Request::Generate(long_request())).unwrap();
    let expected = format!("its last words: {}", sent.len() + 1);
    assert!(error.message.ends_with(&expected), "{error}");
}

#[test]
fn stderr_without_a_line_break_is_quoted_by_its_beginning() {
    let script = "read line; head -c 30000000 /dev/zero | tr '\\0' x >&2; exit 3";
    let error = shell(script, LONG).hello().unwrap_err();
    assert_eq!(error.kind, Some(FailureKind::Died));
    assert!(error.message.len() < 1000, "{} bytes", error.message.len());
    assert!(error.message.ends_with("xxx…"), "{error}");
}

#[test]
fn a_reply_without_end_is_given_up() {
    let error = shell("read line; tr '\\0' x </dev/zero", LONG).hello();
    let error = error.unwrap_err();
    assert_eq!(error.kind, Some(FailureKind::Protocol), "{error}");
    assert!(error.message.contains("longer than"), "{error}");
}

/// A worker that dies and leaves a process behind, in a group of its own, which holds the pipe that
/// `others` doesn't take from it. Its failure, once that process has been ended.
fn leaves_behind(others: &str) -> WorkerError {
    let script = format!("read line; set -m; sleep 1000 {others} & echo $! >&2; exit 7");
    let words = ["bash", "-c", &script].map(str::to_owned);
    let command = crate::locate::worker_command("bash", Some(&words)).unwrap();
    let mut worker = Worker::start(&command, LONG, Interrupt::default()).unwrap();
    let error = worker.hello().unwrap_err();
    let pid = error.message.rsplit(' ').next().unwrap();
    let killed = std::process::Command::new("kill").arg(pid).status();
    assert!(killed.unwrap().success(), "it had ended already: {error}");
    error
}

#[test]
fn what_holds_a_dead_workers_stderr_open_is_not_waited_for() {
    let error = leaves_behind("</dev/null >/dev/null");
    assert_eq!(error.kind, Some(FailureKind::Died));
    assert!(error.message.contains("exit code 7"), "{error}");
}

#[test]
fn what_holds_a_dead_workers_stdout_open_is_not_waited_for() {
    let error = leaves_behind("</dev/null 2>/dev/null");
    assert_eq!(error.kind, Some(FailureKind::Died));
    assert!(error.message.contains("exit code 7"), "{error}");
}

#[test]
fn a_worker_that_closes_its_stdout_and_lives_on_is_killed() {
    let error = shell("read line; exec >&-; read never", LONG).hello();
    let error = error.unwrap_err();
    assert_eq!(error.kind, Some(FailureKind::Died));
    assert!(
        error.message.contains("closed its stdin or stdout"),
        "{error}"
    );
}

#[test]
fn what_acts_on_a_terminal_and_backtraces_stay_out_of_last_words() {
    let script = r"read line; printf 'no\033[2J memory\nException raised from f at g.cpp:1:\nframe #0: h\n' >&2; exit 1";
    let error = shell(script, LONG).hello().unwrap_err();
    let expected = r"its last words: no\u001b[2J memory";
    assert!(error.message.ends_with(expected), "{error}");
}

#[test]
fn an_errors_backtrace_is_cut() {
    let reply = r#"{"type":"error","kind":"failed","message":"no memory\nException raised from f at g.cpp:1 (most recent call first):\nframe #0: h"}"#;
    let script = format!(r"read line; printf '%s\n' '{reply}'; read never");
    let error = shell(&script, LONG).hello().unwrap_err();
    assert_eq!(error.message, "no memory");
    assert_eq!(error.kind, Some(FailureKind::Failed));
}
