//! The PROXY header, version 1 and 2 (haproxy proxy-protocol.txt): for whom a proxy opened a connection.
//!
//! Exactly its bytes are read, not one of what follows. Whatever is not a header ends the connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt};

/// §2.1: the longest header of version 1, with its line end.
const LINE_LIMIT: usize = 107;
/// Addresses and options of version 2.
const BLOCK_LIMIT: usize = 2048;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The client and our address that it reached; `None` when the proxy speaks for itself.
pub(crate) type Ends = Option<(SocketAddr, SocketAddr)>;

/// Reads a header.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Ends> {
    // The shortest header of version 1 is "PROXY UNKNOWN\r\n".
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    if &head == SIGNATURE {
        return version_2(stream).await;
    }
    let mut line = head.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_LIMIT || !line.starts_with(b"PROXY ") {
            return Err(wrong());
        }
        line.push(stream.read_u8().await?);
    }
    version_1(&line).ok_or_else(wrong)
}

fn wrong() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no PROXY header")
}

/// `PROXY TCP4 192.0.2.7 192.0.2.25 40000 25`
fn version_1(line: &[u8]) -> Option<Ends> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let mut words = text.split(' ').skip(1);
    let kind = words.next()?;
    if kind == "UNKNOWN" {
        return Some(None);
    }
    let (client, own) = (words.next()?.parse::<IpAddr>().ok()?, words.next()?.parse::<IpAddr>().ok()?);
    let (client_port, own_port) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let fits = match kind {
        "TCP4" => client.is_ipv4() && own.is_ipv4(),
        "TCP6" => client.is_ipv6() && own.is_ipv6(),
        _ => false,
    };
    (fits && words.next().is_none()).then_some(Some((SocketAddr::new(client.to_canonical(), client_port), SocketAddr::new(own, own_port))))
}

async fn version_2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Ends> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed).await?;
    let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if length > BLOCK_LIMIT {
        return Err(wrong());
    }
    let mut block = vec![0; length];
    stream.read_exact(&mut block).await?;
    block_2(fixed[0], fixed[1], &block).ok_or_else(wrong)
}

/// §2.2: version and command, family and protocol, addresses and ports; options behind them are passed over.
fn block_2(command: u8, family: u8, block: &[u8]) -> Option<Ends> {
    let port = |at: usize| Some(u16::from_be_bytes(block.get(at..at + 2)?.try_into().ok()?));
    let v4 = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(block.get(at..at + 4)?).ok()?));
    let v6 = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(block.get(at..at + 16)?).ok()?));
    match (command, family) {
        // LOCAL: a look whether we live.
        (0x20, _) => Some(None),
        (0x21, 0x11) => Some(Some((SocketAddr::new(v4(0)?.into(), port(8)?), SocketAddr::new(v4(4)?.into(), port(10)?)))),
        (0x21, 0x21) => {
            let client = IpAddr::from(v6(0)?).to_canonical();
            Some(Some((SocketAddr::new(client, port(32)?), SocketAddr::new(v6(16)?.into(), port(34)?))))
        }
        // UNSPEC
        (0x21, 0x00) => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(client: &str, own: &str) -> Ends {
        Some((client.parse().expect("address"), own.parse().expect("address")))
    }

    /// What is read, and what is left.
    async fn read_all(bytes: &[u8]) -> (Option<Ends>, Vec<u8>) {
        let mut rest = bytes;
        (read(&mut rest).await.ok(), rest.to_vec())
    }

    #[tokio::test]
    async fn headers_of_version_1_are_read_to_their_end() {
        for (text, want) in [
            ("PROXY TCP4 192.0.2.7 192.0.2.25 40000 25\r\n", Some(ends("192.0.2.7:40000", "192.0.2.25:25"))),
            ("PROXY TCP6 2001:db8::7 2001:db8::25 40000 25\r\n", Some(ends("[2001:db8::7]:40000", "[2001:db8::25]:25"))),
            ("PROXY UNKNOWN\r\n", Some(None)),
            ("PROXY UNKNOWN whatever comes\r\n", Some(None)),
            ("PROXY TCP4 2001:db8::7 192.0.2.25 40000 25\r\n", None),
            ("PROXY TCP4 192.0.2.7 192.0.2.25 40000 65536\r\n", None),
            ("PROXY TCP4 192.0.2.7 192.0.2.25 40000 25 x\r\n", None),
            ("PROXY TCP4 192.0.2.7\r\n", None),
            ("PROXY UDP4 192.0.2.7 192.0.2.25 40000 25\r\n", None),
            ("EHLO client.test\r\n", None),
            ("PROXY TCP4 192.0", None),
        ] {
            let (got, rest) = read_all(format!("{text}EHLO x\r\n").as_bytes()).await;
            assert_eq!(got, want, "{text:?}");
            assert!(got.is_none() || rest == b"EHLO x\r\n", "{text:?}");
        }
        assert_eq!(read_all(&[b"PROXY TCP4 ".as_slice(), &[b'1'; 500], b"\r\n"].concat()).await.0, None);
    }

    #[tokio::test]
    async fn headers_of_version_2_are_read_to_their_end() {
        let header = |command: u8, family: u8, length: u16, block: &[u8]| {
            [SIGNATURE.as_slice(), &[command, family], &length.to_be_bytes(), block, b"EHLO x\r\n"].concat()
        };
        let four = [192, 0, 2, 7, 192, 0, 2, 25, 0x9c, 0x40, 0, 25];
        let with_option = [four.as_slice(), &[4, 0, 1, 9]].concat();
        let mut six = [0; 36];
        six[..2].copy_from_slice(&[0x20, 1]);
        for (at, byte) in [(15, 7), (31, 25), (33, 1), (35, 25)] {
            six[at] = byte;
        }
        for (bytes, want) in [
            (header(0x21, 0x11, 12, &four), Some(ends("192.0.2.7:40000", "192.0.2.25:25"))),
            (header(0x21, 0x11, 16, &with_option), Some(ends("192.0.2.7:40000", "192.0.2.25:25"))),
            (header(0x21, 0x21, 36, &six), Some(ends("[2001::7]:1", "[::19]:25"))),
            (header(0x20, 0x00, 0, &[]), Some(None)),
            (header(0x21, 0x11, 11, &four[..11]), None),
            (header(0x21, 0x11, 65_535, &four), None),
            (header(0x21, 0x31, 12, &four), None),
            (header(0x31, 0x11, 12, &four), None),
        ] {
            let (got, rest) = read_all(&bytes).await;
            assert_eq!(got, want, "{bytes:?}");
            assert!(got.is_none() || rest == b"EHLO x\r\n", "{bytes:?}");
        }
    }

    /// S27: whatever a stranger sends in front ends or is a header; no more is read than the longest one has.
    #[tokio::test]
    async fn any_bytes_are_a_header_or_an_error() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let words: [&[u8]; 8] = [b"PROXY ", SIGNATURE, b"TCP4 ", b"192.0.2.7 ", b"2001:db8::7 ", b"40000 ", b"\r\n", b"\x21\x11\x00\x0c"];
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..random() % 12 {
                match random() % 3 {
                    0 => bytes.push(random() as u8),
                    _ => bytes.extend_from_slice(words[random() as usize % words.len()]),
                }
            }
            bytes.resize(bytes.len() + 4000, b'x');
            let (_, rest) = read_all(&bytes).await;
            assert!(bytes.len() - rest.len() <= 16 + BLOCK_LIMIT, "{bytes:?}");
        }
    }
}
