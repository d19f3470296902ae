//! The addresses of this machine that mail leaves from (`smtp_bind_address`, `smtp_bind_address6`).

use crate::SetupError;
use std::net::{IpAddr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};

/// The addresses that connections leave from; `None`: as the system chooses.
#[derive(Default)]
pub(crate) struct Bind {
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
}

impl Bind {
    pub(crate) fn new(section: &config::Outbound) -> Result<Bind, SetupError> {
        let read = |setting, text: &str, v4: bool| match text.trim().trim_start_matches('[').trim_end_matches(']') {
            "" => Ok(None),
            text => match text.parse::<IpAddr>() {
                Ok(ip) if ip.is_ipv4() == v4 => Ok(Some(ip)),
                _ => Err(SetupError::Value { setting, why: format!("`{text}` is no IPv{} address", if v4 { 4 } else { 6 }) }),
            },
        };
        Ok(Bind {
            v4: read("smtp_bind_address", &section.smtp_bind_address, true)?,
            v6: read("smtp_bind_address6", &section.smtp_bind_address6, false)?,
        })
    }

    /// Partners on this machine are reached as ever: a public address is none of the loopback's.
    pub(crate) async fn connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let Some(from) = (if to.is_ipv4() { self.v4 } else { self.v6 }).filter(|from| from.is_loopback() || !to.ip().is_loopback()) else {
            return TcpStream::connect(to).await;
        };
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind(SocketAddr::new(from, 0))?;
        socket.connect(to).await
    }
}
