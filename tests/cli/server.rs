//! A running `perk serve`, and who asks it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::room::Room;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, which is killed when it is dropped.
pub struct Server {
    child: Child,
    /// `127.0.0.1:PORT`
    pub address: String,
    token: Option<String>,
}

/// Status and body of an answer.
pub type Answer = (u16, Value);

impl Server {
    /// Starts `perk serve` on the newest run of `room`.
    pub fn start(room: &Room, more: &[&str], token: Option<&str>) -> Self {
        let mut command = room.perk(&[&["serve", "--port", "0"], more].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("PERK_TOKEN");
        if let Some(token) = token {
            command.env("PERK_TOKEN", token);
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("listening at http://") else {
            let output = child.wait_with_output().unwrap();
            panic!("{line}{}", String::from_utf8_lossy(&output.stderr));
        };
        Self { address: address.to_owned(), child, token: token.map(str::to_owned) }
    }

    fn agent() -> ureq::Agent {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        config.timeout_global(Some(PATIENCE)).build().into()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn read(mut response: ureq::http::Response<ureq::Body>) -> (u16, String) {
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    fn json((status, text): (u16, String)) -> Answer {
        let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}"));
        (status, value)
    }

    /// The text of a GET.
    pub fn text(&self, path: &str) -> (u16, String) {
        let mut request = Self::agent().get(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        Self::read(request.call().unwrap())
    }

    pub fn get(&self, path: &str) -> Answer {
        Self::json(self.text(path))
    }

    pub fn delete(&self, path: &str) -> Answer {
        Self::json(Self::read(Self::agent().delete(self.url(path)).call().unwrap()))
    }

    /// The text of the answer to JSON.
    pub fn post_text(&self, path: &str, body: &Value) -> (u16, String) {
        let mut request = Self::agent().post(self.url(path)).header("Content-Type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        Self::read(request.send(body.to_string()).unwrap())
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        Self::json(self.post_text(path, body))
    }

    /// The answer to bytes as they are, of which a client may send only a part; `None` where it is closed without one.
    pub fn raw(&self, bytes: &[u8]) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A server that has heard enough may close before it has all.
        drop(stream.write_all(bytes));
        let mut answer = vec![];
        drop(stream.read_to_end(&mut answer));
        Some(String::from_utf8(answer).unwrap()).filter(|answer| !answer.is_empty())
    }

    /// The events of a memory, up to the last.
    pub fn events(&self, name: &str) -> Vec<Value> {
        data(&self.text(&format!("/v1/memories/{name}/events")).1)
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success()
        );
    }

    /// Waits for the end; how it ended, and what was said on the way.
    pub fn end(mut self) -> (ExitStatus, String) {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status, said)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The data of events.
pub fn data(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
}
