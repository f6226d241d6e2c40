//! A model hub on this machine: it describes one repository and hands out its files as the Hugging
//! Face hub does, with a redirection for weights, and can refuse, break off and be asked what it saw.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

/// What the hub has, and how it misbehaves.
#[derive(Default)]
pub(crate) struct Repository {
    pub(crate) name: &'static str,
    pub(crate) commit: &'static str,
    pub(crate) files: BTreeMap<&'static str, Vec<u8>>,
    /// The status, `X-Error-Code` and `X-Error-Message` given in place of the description.
    pub(crate) refuse_description: Option<Answer>,
    /// The same in place of each file.
    pub(crate) refuse_files: Option<Answer>,
    /// The number of bytes after which the connection breaks, once, in a file's body.
    pub(crate) cut: Option<(&'static str, usize)>,
    /// Answers a request for the rest of a file with all of it.
    pub(crate) ignore_ranges: bool,
}

pub(crate) type Answer = (u16, &'static str, &'static str);

/// A request as the hub saw it.
struct Request {
    path: String,
    range: Option<String>,
    authorization: Option<String>,
}

pub(crate) struct HubServer {
    pub(crate) address: String,
    repository: Arc<Mutex<Repository>>,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl HubServer {
    pub(crate) fn start(repository: Repository) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = Self {
            address: address.clone(),
            repository: Arc::new(Mutex::new(repository)),
            seen: Arc::default(),
        };
        let (repository, seen) = (server.repository.clone(), server.seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = read(&stream) else {
                    continue;
                };
                let answer = answer(&mut repository.lock().unwrap(), &address, &request);
                seen.lock().unwrap().push(request);
                // A client that went away is the test's business.
                let _ = stream.write_all(&answer);
            }
        });
        server
    }

    /// Changes the repository.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Repository)) {
        change(&mut self.repository.lock().unwrap());
    }

    /// The files whose content was asked for, each with the first byte asked for, in order. The one
    /// byte that tells a file's size is no content.
    pub(crate) fn downloads(&self) -> Vec<(String, usize)> {
        let seen = self.seen.lock().unwrap();
        let contents = seen.iter().filter_map(|request| {
            let range = request.range.as_deref()?.strip_prefix("bytes=")?;
            // The redirection and what it leads to are one download.
            let redirected = request.path.ends_with(".safetensors");
            if range == "0-0" || (redirected && !request.path.starts_with("/cdn/")) {
                return None;
            }
            let file = request.path.rsplit('/').next()?;
            Some((file.to_owned(), range.strip_suffix('-')?.parse().ok()?))
        });
        contents.collect()
    }

    /// Forgets what it saw.
    pub(crate) fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// How many requests it saw.
    pub(crate) fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The `Authorization` of the first request.
    pub(crate) fn authorization(&self) -> Option<String> {
        self.seen.lock().unwrap().first()?.authorization.clone()
    }
}

/// The name of a file's content in the cache.
pub(crate) fn etag(content: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let mut request = Request {
        path,
        range: None,
        authorization: None,
    };
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ")?;
        match name.to_lowercase().as_str() {
            "range" => request.range = Some(value.to_owned()),
            "authorization" => request.authorization = Some(value.to_owned()),
            _ => (),
        }
    }
    Some(request)
}

fn answer(repository: &mut Repository, address: &str, request: &Request) -> Vec<u8> {
    let name = repository.name;
    let path = request.path.as_str();
    if let Some(revision) = path.strip_prefix(&format!("/api/models/{name}/revision/")) {
        return match repository.refuse_description {
            Some(answer) => refusal(answer),
            None => description(repository, revision),
        };
    }
    if let Some(rest) = path.strip_prefix(&format!("/{name}/resolve/")) {
        if let Some(answer) = repository.refuse_files {
            return refusal(answer);
        }
        let (_commit, file) = rest.split_once('/').unwrap();
        let content = &repository.files[file];
        let headers = format!("X-Repo-Commit: {}\r\n", repository.commit);
        if file.ends_with(".safetensors") {
            let etag = etag(content);
            let headers =
                format!("{headers}X-Linked-Etag: \"{etag}\"\r\nLocation: {address}/cdn/{file}\r\n");
            return response(302, &headers, b"");
        }
        return body(repository, file, request, &headers);
    }
    if let Some(file) = path.strip_prefix("/cdn/") {
        return body(repository, file, request, "");
    }
    refusal((404, "RepoNotFound", "Repository not found"))
}

fn description(repository: &Repository, revision: &str) -> Vec<u8> {
    if revision != "main" && revision != repository.commit {
        let message = format!("Invalid rev id: {revision}");
        return refusal((404, "RevisionNotFound", &message));
    }
    let files = repository.files.keys();
    let siblings: Vec<_> = files.map(|file| json!({ "rfilename": file })).collect();
    let body = json!({ "sha": repository.commit, "siblings": siblings }).to_string();
    response(200, "Content-Type: application/json\r\n", body.as_bytes())
}

/// A file's content, or the part asked for.
fn body(repository: &mut Repository, file: &str, request: &Request, headers: &str) -> Vec<u8> {
    let content = &repository.files[file];
    let range = request.range.as_deref().unwrap().strip_prefix("bytes=");
    let (start, end) = range.unwrap().split_once('-').unwrap();
    let start: usize = start.parse().unwrap();
    let end = end.parse().map_or(content.len(), |end: usize| end + 1);
    let end = end.min(content.len());
    let headers = format!("{headers}ETag: \"{}\"\r\n", etag(content));
    if start >= content.len() {
        return response(416, &headers, b"");
    }
    if repository.ignore_ranges && start > 0 {
        return response(200, &headers, content);
    }
    let headers = format!(
        "{headers}Content-Range: bytes {start}-{}/{}\r\n",
        end - 1,
        content.len()
    );
    let mut answer = response(206, &headers, &content[start..end]);
    if let Some((_, bytes)) = repository.cut.filter(|(cut, _)| *cut == file && end > 1) {
        repository.cut = None;
        let head = answer.len() - (end - start);
        answer.truncate(head + bytes);
    }
    answer
}

fn refusal((status, code, message): (u16, &str, &str)) -> Vec<u8> {
    let headers = format!("X-Error-Code: {code}\r\nX-Error-Message: {message}\r\n");
    response(status, &headers, b"")
}

fn response(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
