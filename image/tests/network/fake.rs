//! An HTTP server that answers as a test wants, byte by byte, and remembers who asked what.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) at: Instant,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub(crate) fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.target.contains(part)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A piece of an answer. After the last one the connection ends.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// The same bytes so many times.
    Repeat(Vec<u8>, usize),
    /// So many of the bytes, then this pause, and so on: a connection that is slow.
    Paced(Vec<u8>, usize, Duration),
    /// Nothing more, for as long as the test lasts.
    Stall,
}

pub(crate) type Reply = Vec<Step>;

/// A whole answer.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut head = format!("HTTP/1.1 {status} Words\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let says_length = headers
        .iter()
        .any(|(name, _)| matches!(*name, "Content-Length" | "Transfer-Encoding"));
    if !says_length {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    vec![Step::Send(head.into_bytes()), Step::Send(body.to_vec())]
}

pub(crate) fn redirect(location: &str) -> Reply {
    answer(307, &[("Location", location)], b"")
}

type Handler = dyn Fn(&Seen) -> Reply + Send + Sync;

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Fake {
    pub(crate) fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(None, handler)
    }

    pub(crate) fn encrypted(
        config: Arc<ServerConfig>,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::with(Some(config), handler)
    }

    fn with(
        tls: Option<Arc<ServerConfig>>,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let handler: Arc<Handler> = Arc::new(handler);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let serving = {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
                    let (handler, tls) = (Arc::clone(&handler), tls.clone());
                    std::thread::spawn(move || serve(stream, tls, &*handler, &seen, &stop));
                }
            })
        };
        Self {
            address,
            scheme,
            seen,
            stop,
            listener: Some(serving),
        }
    }

    /// As references name it.
    pub(crate) fn name(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self, target: &str) -> String {
        format!("{}://{}{target}", self.scheme, self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    /// Requests with this method whose target has `part`.
    pub(crate) fn asked(&self, method: &str, part: &str) -> Vec<Seen> {
        let seen = self.seen();
        seen.into_iter()
            .filter(|seen| seen.is(method, part))
            .collect()
    }

    /// Whether these bytes came in any request's head or body.
    pub(crate) fn learned(&self, secret: &str) -> bool {
        self.seen()
            .iter()
            .any(|seen| format!("{seen:?} {}", seen.text()).contains(secret))
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
        if let Some(listener) = self.listener.take() {
            listener.join().expect("it ends");
        }
    }
}

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    handler: &Handler,
    seen: &Mutex<Vec<Seen>>,
    stop: &AtomicBool,
) {
    let limit = Some(Duration::from_secs(60));
    stream.set_read_timeout(limit).expect("set");
    stream.set_write_timeout(limit).expect("set");
    let stream: Box<dyn Both> = match tls {
        None => Box::new(stream),
        Some(config) => {
            let connection = ServerConnection::new(config).expect("configured");
            Box::new(StreamOwned::new(connection, stream))
        }
    };
    let mut reader = BufReader::new(stream);
    let Some(request) = read_request(&mut reader) else {
        return;
    };
    let reply = handler(&request);
    seen.lock().expect("no panic").push(request);
    let stream = reader.get_mut();
    for step in reply {
        let sent = match step {
            Step::Send(bytes) => stream.write_all(&bytes).and_then(|()| stream.flush()),
            Step::Repeat(bytes, times) => (0..times).try_for_each(|_| stream.write_all(&bytes)),
            Step::Paced(bytes, length, pause) => bytes.chunks(length).try_for_each(|piece| {
                std::thread::sleep(pause);
                stream.write_all(piece).and_then(|()| stream.flush())
            }),
            Step::Stall => {
                while !stop.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
    // What is left of a TLS stream's end doesn't matter to any test.
    stream.flush().ok();
}

fn read_request(reader: &mut BufReader<Box<dyn Both>>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut seen = Seen {
        method,
        target,
        headers,
        body: Vec::new(),
        at: Instant::now(),
    };
    let length = seen
        .header("content-length")
        .and_then(|text| text.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    seen.body = body;
    Some(seen)
}
