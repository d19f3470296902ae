//! A name server with zones made in code, for `dns.nameservers`.
//!
//! It answers like a recursive resolver, over UDP and TCP on one port: CNAMEs are followed, a name that exists without the type asked for gives
//! an empty answer, any other NXDOMAIN. Answers that do not fit into UDP are cut and marked, so that clients come again by TCP.

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// A running server; it ends when the value is dropped.
pub struct FakeDns {
    address: SocketAddr,
    zones: Arc<Mutex<Zones>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

#[derive(Default)]
struct Zones {
    records: HashMap<String, Vec<(u32, RData)>>,
    /// Names that get this response code, or no answer at all.
    broken: HashMap<String, Option<ResponseCode>>,
    asked: Vec<String>,
}

impl FakeDns {
    /// Starts on a free port of 127.0.0.1. `lines` as for [`FakeDns::add`], one each.
    pub async fn start(lines: &str) -> FakeDns {
        let (udp, tcp) = bind().await;
        let address = udp.local_addr().expect("a bound socket has an address");
        let zones = Arc::new(Mutex::new(Zones::default()));
        let (for_udp, for_tcp) = (zones.clone(), zones.clone());
        let tasks = vec![tokio::spawn(serve_udp(udp, for_udp)), tokio::spawn(serve_tcp(tcp, for_tcp))];
        let server = FakeDns { address, zones, tasks };
        lines.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| server.add(line));
        server
    }

    /// `127.0.0.1:port`, as `dns.nameservers` has it.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Adds a record: `name [ttl] TYPE data`, with the types A, AAAA, MX (`10 host`, `0 .`), SRV (`0 5 587 host`), NS, CNAME,
    /// PTR and TXT. `name SERVFAIL`,
    /// `name REFUSED` and `name SILENT` break a name. The TTL is 300 when none is given. A name without records: `name EMPTY`.
    pub fn add(&self, line: &str) {
        let mut words = line.split_whitespace();
        let wrong = || -> ! { panic!("no DNS record: {line}") };
        let name = key(words.next().unwrap_or_else(|| wrong()));
        let mut kind = words.next().unwrap_or_else(|| wrong());
        let ttl = kind.parse().ok();
        if ttl.is_some() {
            kind = words.next().unwrap_or_else(|| wrong());
        }
        let rest: Vec<&str> = words.collect();
        let host = |text: Option<&&str>| Name::from_ascii(key(text.unwrap_or_else(|| wrong()))).unwrap_or_else(|_| wrong());
        let data = match kind {
            "A" => RData::A(A(rest.first().and_then(|ip| ip.parse().ok()).unwrap_or_else(|| wrong()))),
            "AAAA" => RData::AAAA(AAAA(rest.first().and_then(|ip| ip.parse().ok()).unwrap_or_else(|| wrong()))),
            "MX" => RData::MX(MX::new(rest.first().and_then(|n| n.parse().ok()).unwrap_or_else(|| wrong()), host(rest.get(1)))),
            "SRV" => {
                let number = |at: usize| rest.get(at).and_then(|n| n.parse().ok()).unwrap_or_else(|| wrong());
                RData::SRV(SRV::new(number(0), number(1), number(2), host(rest.get(3))))
            }
            "NS" => RData::NS(NS(host(rest.first()))),
            "CNAME" => RData::CNAME(CNAME(host(rest.first()))),
            "PTR" => RData::PTR(PTR(host(rest.first()))),
            "TXT" => RData::TXT(TXT::new(vec![rest.join(" ")])),
            "EMPTY" => {
                self.zones.lock().records.entry(name).or_default();
                return;
            }
            "SERVFAIL" | "REFUSED" | "SILENT" => {
                let code = match kind {
                    "SERVFAIL" => Some(ResponseCode::ServFail),
                    "REFUSED" => Some(ResponseCode::Refused),
                    _ => None,
                };
                self.zones.lock().broken.insert(name, code);
                return;
            }
            _ => wrong(),
        };
        self.zones.lock().records.entry(name).or_default().push((ttl.unwrap_or(300), data));
    }

    /// Forgets a name, with all its records.
    pub fn remove(&self, name: &str) {
        let mut zones = self.zones.lock();
        zones.records.remove(&key(name));
        zones.broken.remove(&key(name));
    }

    /// The questions so far, as `name TYPE`.
    pub fn asked(&self) -> Vec<String> {
        self.zones.lock().asked.clone()
    }
}

impl Drop for FakeDns {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|task| task.abort());
    }
}

/// Lower case, with the final dot.
fn key(name: &str) -> String {
    let name = name.to_lowercase();
    if name.ends_with('.') { name } else { format!("{name}.") }
}

/// The same port for both protocols.
async fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..50 {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port can be bound");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("bound")).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP")
}

async fn serve_udp(socket: UdpSocket, zones: Arc<Mutex<Zones>>) {
    let mut buffer = vec![0; 4096];
    while let Ok((n, peer)) = socket.recv_from(&mut buffer).await {
        let Some((answer, room)) = answer(&buffer[..n], &zones) else { continue };
        let mut bytes = answer.to_vec().expect("an answer can be written");
        if bytes.len() > room {
            bytes = answer.truncate().to_vec().expect("a short answer can be written");
        }
        // The client may be gone; the next one is not.
        let _ = socket.send_to(&bytes, peer).await;
    }
}

async fn serve_tcp(listener: TcpListener, zones: Arc<Mutex<Zones>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let zones = zones.clone();
        tokio::spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut question = vec![0; length.into()];
                if stream.read_exact(&mut question).await.is_err() {
                    return;
                }
                let Some((answer, _)) = answer(&question, &zones) else { continue };
                let bytes = answer.to_vec().expect("an answer can be written");
                let mut framed = u16::try_from(bytes.len()).expect("an answer fits into TCP").to_be_bytes().to_vec();
                framed.extend_from_slice(&bytes);
                if stream.write_all(&framed).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// The answer, and how much of it the client takes by UDP. `None`: silence.
fn answer(question: &[u8], zones: &Mutex<Zones>) -> Option<(Message, usize)> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let room = usize::from(question.max_payload());
    let mut answer = Message::new(question.metadata.id, MessageType::Response, question.metadata.op_code);
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    let mut zones = zones.lock();
    let asked = key(&query.name().to_ascii());
    zones.asked.push(format!("{} {}", asked.trim_end_matches('.'), query.query_type()));
    let (mut name, mut spelled) = (asked, query.name().clone());
    // A circle of CNAMEs is given as far as it fits.
    for _ in 0..16 {
        if let Some(code) = zones.broken.get(&name) {
            answer.metadata.response_code = (*code)?;
            break;
        }
        let Some(records) = zones.records.get(&name) else {
            answer.metadata.response_code = ResponseCode::NXDomain;
            break;
        };
        let mut next = None;
        for (ttl, data) in records {
            if data.record_type() == query.query_type() || data.record_type() == RecordType::CNAME {
                answer.add_answer(Record::from_rdata(spelled.clone(), *ttl, data.clone()));
            }
            if let (RData::CNAME(target), true) = (data, query.query_type() != RecordType::CNAME) {
                next = Some(target.0.clone());
            }
        }
        match next {
            Some(target) => (name, spelled) = (key(&target.to_ascii()), target),
            None => break,
        }
    }
    if answer.answers.is_empty() {
        let root = Name::root();
        let soa = SOA::new(root.clone(), root.clone(), 1, 3600, 600, 86400, 60);
        answer.add_authority(Record::from_rdata(root, 60, RData::SOA(soa)));
    }
    Some((answer, room))
}
