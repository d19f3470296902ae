//! `mynetworks`: whose mail we pass on without a login.

use config::MynetworksStyle;
use std::net::IpAddr;
use tables::cidr::Network;
use tables::{Context, Error, NetworkList};

/// The networks of `mynetworks`; when that is empty those of `mynetworks_style`: `none`, `host` (the addresses of this machine) or
/// `subnet` (the networks its interfaces are in).
pub fn mynetworks(list: &[String], style: MynetworksStyle, context: &Context) -> Result<NetworkList, Error> {
    if !list.is_empty() {
        return NetworkList::open(&list.join(", "), context);
    }
    let networks = match style {
        MynetworksStyle::None => Vec::new(),
        MynetworksStyle::Host => interfaces().into_iter().filter_map(|(ip, _)| Network::new(ip, width(ip))).collect(),
        MynetworksStyle::Subnet => interfaces().into_iter().filter_map(|(ip, length)| Network::new(ip, length)).collect(),
    };
    Ok(NetworkList::of(networks))
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The addresses of this machine with the length of their networks. When the system does not tell: the loopback addresses.
pub(crate) fn interfaces() -> Vec<(IpAddr, u8)> {
    let mut all = vec![(IpAddr::from([127, 0, 0, 1]), 8), (IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), 128)];
    let found = match nix::ifaddrs::getifaddrs() {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "cannot list the network interfaces: mynetworks holds the loopback addresses only");
            return all;
        }
    };
    for interface in found {
        let ip = |address: Option<nix::sys::socket::SockaddrStorage>| -> Option<IpAddr> {
            let address = address?;
            if let Some(four) = address.as_sockaddr_in() {
                return Some(four.ip().into());
            }
            address.as_sockaddr_in6().map(|six| six.ip().into())
        };
        if let Some(address) = ip(interface.address) {
            let length = match ip(interface.netmask) {
                Some(IpAddr::V4(mask)) => u32::from(mask).leading_ones() as u8,
                Some(IpAddr::V6(mask)) => u128::from(mask).leading_ones() as u8,
                None => width(address),
            };
            if !all.iter().any(|(known, _)| *known == address) {
                all.push((address, length));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn networks_follow_list_then_style() {
        let context = Context::local("/");
        let local: IpAddr = "127.0.0.1".parse().expect("ip");
        let neighbour: IpAddr = "127.0.0.9".parse().expect("ip");
        for (list, style, want_local, want_neighbour) in [
            (vec![], MynetworksStyle::None, false, false),
            (vec![], MynetworksStyle::Host, true, false),
            (vec![], MynetworksStyle::Subnet, true, true),
            (vec!["192.0.2.0/24".to_owned()], MynetworksStyle::Subnet, false, false),
            (vec!["127.0.0.0/8".to_owned()], MynetworksStyle::None, true, true),
        ] {
            let networks = mynetworks(&list, style, &context).expect("networks");
            assert_eq!(networks.contains(local).await, Ok(want_local), "{list:?} {style:?}");
            assert_eq!(networks.contains(neighbour).await, Ok(want_neighbour), "{list:?} {style:?}");
        }
    }
}
