//! Servers, measured from their clients' side: a scripted one behind the real worker and the real command line.

mod logprobs;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Scene, stderr, stdout, worker};

/// A server that answers by a script until the test ends.
struct Server {
    port: u16,
    prompts: Arc<Mutex<Vec<Value>>>,
}

/// What the script makes of the body of the request to generate that came as the `n`th: all bytes of the answer.
type Script = fn(n: usize, body: &Value) -> Vec<u8>;

impl Server {
    fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let prompts = Arc::default();
        let (seen, count) = (Arc::clone(&prompts), Arc::new(AtomicUsize::new(0)));
        let origin = Instant::now();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, count) = (Arc::clone(&seen), Arc::clone(&count));
                std::thread::spawn(move || answer(stream, script, &seen, &count, origin));
            }
        });
        Self { port, prompts }
    }

    /// A config that measures it.
    fn config(&self, scene: &Scene, test: &str, more: &str) {
        config(scene, self.port, test, more);
    }
}

fn config(scene: &Scene, port: u16, test: &str, more: &str) {
    let text = format!(
        "name = \"scene\"\n[model]\nsource = \"server:tiny\"\n[measure]\nrepetitions = 2\nprocesses = 1\nwarmup = 0\n\
         timeout_seconds = 20\n[[test]]\nkind = \"serve\"\nprompt_tokens = 40\ngenerate_tokens = 4\n{test}\n[[target]]\n\
         backend = \"fake\"\ndtypes = [\"f32\"]\n[backend.fake]\nurl = \"http://127.0.0.1:{port}/v1\"\n{more}\n"
    );
    std::fs::write(scene.path("config.toml"), text).unwrap();
}

/// Reads one request and answers it; the connection ends with it. What is seen of it has its key, and its time from
/// `origin` on. `None` where the client has gone.
fn answer(
    stream: TcpStream,
    script: Script,
    seen: &Mutex<Vec<Value>>,
    count: &AtomicUsize,
    origin: Instant,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_lowercase()),
        }
    }
    let length = lines
        .iter()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let mut stream = stream;
    if lines[0].starts_with("get") {
        return stream
            .write_all(&json_answer(200, "OK", &json!({"data": []})))
            .ok();
    }
    let mut body: Value = serde_json::from_slice(&body).ok()?;
    let key = lines
        .iter()
        .find_map(|line| line.strip_prefix("authorization: "));
    body["key"] = key.into();
    body["at_seconds"] = origin.elapsed().as_secs_f64().into();
    seen.lock().ok()?.push(body.clone());
    stream
        .write_all(&script(count.fetch_add(1, Ordering::SeqCst), &body))
        .ok()
}

fn http(status: u16, reason: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} {reason}\r\nconnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn json_answer(status: u16, reason: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    let headers = format!("content-type: application/json\r\ncontent-length: {length}\r\n");
    http(status, reason, &headers, body.as_bytes())
}

fn stream(body: &str) -> Vec<u8> {
    http(
        200,
        "OK",
        "content-type: text/event-stream\r\n",
        body.as_bytes(),
    )
}

/// A good answer in three pieces of as many tokens as were asked for, with a comment and a role before them.
fn good(_: usize, body: &Value) -> Vec<u8> {
    let prompt = body["messages"][0]["content"]
        .as_str()
        .or(body["prompt"].as_str());
    let words = prompt.unwrap().split_whitespace().count();
    let chunk = |delta: Value, finish: Value| {
        let text = &delta["content"];
        let choice = json!({"delta": delta, "text": text, "finish_reason": finish});
        format!("data: {}\n\n", json!({"choices": [choice]}))
    };
    let usage = json!({"choices": [], "usage": {"prompt_tokens": words + 5, "completion_tokens": body["max_tokens"]}});
    let parts = [
        ": keep-alive\n\n".to_owned(),
        chunk(json!({"role": "assistant"}), Value::Null),
        chunk(json!({"content": "one"}), Value::Null),
        chunk(json!({"content": "two"}), Value::Null),
        chunk(json!({"content": "three"}), "length".into()),
        format!("data: {usage}\n\ndata: [DONE]\n\n"),
    ];
    stream(&parts.concat())
}

fn scene() -> Scene {
    worker("mlxbench-worker-openai");
    Scene::new()
}

#[test]
fn requests_are_counted_by_the_server_and_no_two_prompts_begin_alike() {
    let (scene, server) = (scene(), Server::start(good));
    let test = "concurrency = [1, 3]\nrequests = 6\nttft_slo_ms = 60000\ntpot_slo_ms = 60000";
    server.config(&scene, test, "extra = { ignore_eos = true }");
    let ran = scene.mlxbench(&["run", "config.toml"]);
    assert!(ran.status.success(), "{}\n{}", stdout(&ran), stderr(&ran));
    let table = stdout(&ran);
    for says in [
        "goodput req/s",
        "serve pp40+tg4 c1",
        "0/12",
        "not compared",
        "TTFT p50",
    ] {
        assert!(table.contains(says), "{says}: {table}");
    }

    let result = scene.result();
    assert_eq!(result["run"]["model"]["name"], "tiny");
    assert_eq!(result["samples"].as_array().unwrap().len(), 4);
    for sample in result["samples"].as_array().unwrap() {
        let requests = sample["requests"].as_array().unwrap();
        assert_eq!(requests.len(), 6);
        for request in requests {
            assert_eq!(request["completion_tokens"], 4);
            assert_eq!(
                request["chunk_ns"].as_array().unwrap().len(),
                3,
                "a chunk is no token"
            );
            assert_eq!(request["prompt_tokens"], 40, "by the server's own count");
            assert_eq!(request["finish_reason"], "length");
        }
    }
    assert_eq!(result["equivalences"][0]["verdict"], "unchecked");

    let prompts = server.prompts.lock().unwrap();
    assert!(
        prompts
            .iter()
            .all(|body| body["ignore_eos"] == true && body["key"].is_null())
    );
    let start = |body: &Value| {
        let text = body["messages"][0]["content"].as_str().unwrap();
        text.split(' ').take(6).collect::<Vec<_>>().join(" ")
    };
    let mut starts: Vec<String> = prompts.iter().map(start).collect();
    starts.sort();
    starts.dedup();
    assert_eq!(starts.len(), prompts.len());

    let json = scene.mlxbench(&[
        "report",
        scene.written("Z.json").to_str().unwrap(),
        "--format",
        "json",
    ]);
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    let serving = &report["summary"]["rows"][1]["serving"];
    assert_eq!(
        (&serving["requests"], &serving["failed"]),
        (&json!(12), &json!(0))
    );
    let (good, all) = (
        &serving["goodput_tokens_per_second"],
        &serving["output_tokens_per_second"],
    );
    assert_eq!(good, &all["median"], "all met so wide a goal");
    for (format, says) in [
        ("md", "| output t/s | TTFT p50 |"),
        ("html", "goodput req/s"),
        ("csv", "failed_requests"),
    ] {
        let file = scene.written("Z.json");
        let report = scene.mlxbench(&[
            "report",
            file.to_str().unwrap(),
            "--format",
            format,
            "-o",
            &format!("report.{format}"),
        ]);
        assert!(report.status.success(), "{format}: {}", stderr(&report));
        let text = std::fs::read_to_string(scene.path(&format!("report.{format}"))).unwrap();
        assert!(text.contains(says), "{format}");
    }
}

#[test]
fn completions_get_the_prompt_itself_and_the_key() {
    let (scene, server) = (scene(), Server::start(good));
    server.config(
        &scene,
        "requests = 2",
        "endpoint = \"completions\"\napi_key_env = \"FAKE_KEY\"",
    );
    let mut run = scene.command(&["run", "config.toml"]);
    let ran = run.env("FAKE_KEY", "s3cret").output().unwrap();
    assert!(ran.status.success(), "{}", stderr(&ran));
    let prompts = server.prompts.lock().unwrap();
    assert!(
        prompts
            .iter()
            .all(|body| body["key"] == "bearer s3cret" && body["prompt"].is_string())
    );
    let written = std::fs::read_to_string(scene.written("Z.json")).unwrap();
    assert!(!written.contains("s3cret"), "a key is in no result");
}

#[test]
fn a_request_that_fails_is_counted_and_told() {
    // The first two count tokens.
    let script: Script = |n, body| match n {
        3 => stream("data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\n"),
        4 => http(
            429,
            "Too Many Requests",
            "retry-after: 1\r\ncontent-length: 0\r\n",
            b"",
        ),
        5 => stream("data: {\"choices\n\n"),
        6 => stream("data: {\"error\":{\"message\":\"out of blocks\"}}\n\n"),
        7 => stream(
            "data: {\"choices\":[{\"delta\":{\"content\":\"one\"},\"finish_reason\":\"abort\"}]}\n\ndata: [DONE]\n\n",
        ),
        _ => good(n, body),
    };
    let (scene, server) = (scene(), Server::start(script));
    server.config(&scene, "requests = 6", "");
    let ran = scene.mlxbench(&["run", "config.toml"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let table = stdout(&ran);
    assert!(table.contains("5/12"), "{table}");
    assert!(table.contains("5 of 12 requests failed"), "{table}");
    let result = scene.result();
    let requests = result["samples"][0]["requests"].as_array().unwrap();
    let errors: Vec<&str> = requests
        .iter()
        .filter_map(|request| request["error"].as_str())
        .collect();
    let says = [
        "the stream was cut",
        "Retry-After",
        "where the API's JSON was due",
        "out of blocks",
        "finish_reason = \"abort\"",
    ];
    assert_eq!(errors.len(), says.len());
    for (error, says) in errors.iter().zip(says) {
        assert!(error.contains(says), "{error}");
        assert!(
            error.contains(&format!(
                "http://127.0.0.1:{}/v1/chat/completions",
                server.port
            )),
            "{error}"
        );
    }
    // The server asked its client to wait for a second.
    let at = |n: usize, which: &str| requests[n][which].as_u64().unwrap();
    let pause = at(3, "start_ns") - at(2, "end_ns");
    assert!(pause >= 1_000_000_000, "{pause} ns");
}

#[test]
fn a_server_that_is_busy_when_it_should_count_is_asked_again() {
    let script: Script = |n, body| match n {
        0 => http(
            429,
            "Too Many Requests",
            "retry-after: 0.5\r\ncontent-length: 0\r\n",
            b"",
        ),
        1 => json_answer(503, "Unavailable", &json!({"error": "loading"})),
        _ => good(n, body),
    };
    let (scene, server) = (scene(), Server::start(script));
    server.config(&scene, "requests = 1", "");
    let ran = scene.mlxbench(&["run", "config.toml"]);
    assert!(ran.status.success(), "{}\n{}", stdout(&ran), stderr(&ran));
    let seen = server.prompts.lock().unwrap();
    assert_eq!(seen[0]["messages"], seen[1]["messages"]);
    assert_eq!(seen[0]["messages"], seen[2]["messages"]);
    let at = |n: usize| seen[n]["at_seconds"].as_f64().unwrap();
    // As long as it said, then a second, since it didn't say.
    let pauses = [at(1) - at(0), at(2) - at(1)];
    assert!(pauses[0] >= 0.5 && pauses[1] >= 1.0, "{pauses:?}");
}

#[test]
fn an_answer_that_the_server_did_not_count_is_told() {
    let script: Script = |n, body| match n {
        3 => stream(
            "data: {\"choices\":[{\"delta\":{\"content\":\"one\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        ),
        _ => good(n, body),
    };
    let (scene, server) = (scene(), Server::start(script));
    server.config(&scene, "requests = 2", "");
    let ran = scene.mlxbench(&["run", "config.toml"]);
    assert!(ran.status.success(), "{}\n{}", stdout(&ran), stderr(&ran));
    let table = stdout(&ran);
    let words: Vec<&str> = table.split_whitespace().collect();
    let says = "1 of 4 answers weren't counted by the server";
    assert!(words.join(" ").contains(says), "{table}");
    let requests = &scene.result()["samples"][0]["requests"];
    assert!(requests[0]["finish_ns"].is_u64());
    assert!(requests[1]["completion_tokens"].is_null());
}

#[test]
fn a_server_that_fails_throughout_fails_the_row_with_what_to_do() {
    let html: Script = |_, _| http(200, "OK", "content-type: text/html\r\n", b"<!doctype html>");
    let unknown: Script = |_, _| {
        json_answer(
            404,
            "Not Found",
            &json!({"error": {"message": "no such model"}}),
        )
    };
    let elsewhere: Script = |_, _| {
        http(
            302,
            "Found",
            "location: http://127.0.0.1:1/v1\r\ncontent-length: 0\r\n",
            b"",
        )
    };
    let busy: Script = |_, _| {
        http(
            429,
            "Too Many Requests",
            "retry-after: 3600\r\ncontent-length: 0\r\n",
            b"",
        )
    };
    let whole: Script = |_, _| json_answer(200, "OK", &json!({"choices": []}));
    let bytes: Script = |_, _| http(200, "OK", "", b"data: \xff\xfe\xfd\n\n");
    let later: Script = |n, body| match n {
        0 | 1 => good(n, body),
        _ => json_answer(500, "Error", &json!({"detail": "broken"})),
    };
    for (script, says) in [
        (html, "an HTML page: give the url of its API"),
        (unknown, "it knows no model \"tiny\""),
        (elsewhere, "redirects to http://127.0.0.1:1/v1"),
        (busy, "it takes no more requests for 3600 s"),
        (whole, "in place of a stream"),
        (bytes, "where the API's JSON was due"),
        (later, "all 8 requests failed; the first one"),
    ] {
        let (scene, server) = (scene(), Server::start(script));
        server.config(&scene, "", "");
        let ran = scene.mlxbench(&["run", "config.toml"]);
        let (out, err) = (stdout(&ran), stderr(&ran));
        assert_eq!(ran.status.code(), Some(3), "{says}: {out}\n{err}");
        let failure = &scene.result()["failures"][0]["message"];
        assert!(
            failure.as_str().unwrap().contains(says),
            "{says}: {failure}"
        );
    }
}

#[test]
fn where_nothing_listens_the_url_is_named() {
    let scene = scene();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    config(&scene, port, "", "");
    let ran = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(ran.status.code(), Some(3));
    let message = scene.result()["failures"][0]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        message.contains("connection refused") && message.contains("start the server"),
        "{message}"
    );
    assert!(
        message.contains(&format!("http://127.0.0.1:{port}/v1")),
        "{message}"
    );
}

#[test]
fn a_server_that_sends_nothing_fails_in_time() {
    let silent: Script = |_, _| {
        // Until the test's process ends.
        loop {
            std::thread::park();
        }
    };
    let (scene, server) = (scene(), Server::start(silent));
    server.config(&scene, "requests = 1", "");
    let config = std::fs::read_to_string(scene.path("config.toml")).unwrap();
    std::fs::write(
        scene.path("config.toml"),
        config.replace("timeout_seconds = 20", "timeout_seconds = 2"),
    )
    .unwrap();
    let ran = scene.mlxbench(&["run", "config.toml"]);
    assert_eq!(ran.status.code(), Some(3));
    let message = scene.result()["failures"][0]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        message.contains("no whole answer came in time"),
        "{message}"
    );
}

#[test]
fn a_config_of_a_server_is_planned_without_weights() {
    let (scene, server) = (scene(), Server::start(good));
    server.config(&scene, "", "");
    let planned = scene.mlxbench(&["run", "config.toml", "--dry-run"]);
    assert!(planned.status.success(), "{}", stderr(&planned));
    assert!(
        stdout(&planned).contains("on a server"),
        "{}",
        stdout(&planned)
    );
}
