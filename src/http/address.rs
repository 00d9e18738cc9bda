//! Which address a request comes from. It is the peer's, unless that is a proxy of our own, which tells whose it passes on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use actix_web::http::header::HeaderMap;
use serde::Serialize;

/// Addresses that begin with the same bits, or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        let same_kind = address.is_ipv4() == self.address.is_ipv4();
        same_kind && cut(address, self.bits) == cut(self.address, self.bits)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is neither an address nor a network such as 10.0.0.0/8");
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(all), |bits| bits.parse().map_err(|_| wrong()))?;
        match bits <= all {
            true => Ok(Self { address, bits }),
            false => Err(wrong()),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Who a request comes from. Of `X-Forwarded-For` each proxy writes the end, and only those behind which stand proxies of
/// ours alone are believed: what a stranger wrote before them may be anything.
pub fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    if trusted.is_empty() || !is_trusted(client) {
        return client;
    }
    let lines: Vec<_> = headers.get_all("x-forwarded-for").collect();
    let lines = lines.iter().rev().filter_map(|line| line.to_str().ok());
    for told in lines.flat_map(|line| line.rsplit(',')) {
        let Ok(address) = told.trim().parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// What counts as one client: of IPv6, whoever has one address has all that begin with the same 64 bits.
pub fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        address => cut(address, 64),
    }
}

/// The first bits of an address, and else zeros.
fn cut(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn forwarded(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            let name = HeaderName::from_static("x-forwarded-for");
            headers.append(name, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_with_its_bits() {
        let [ten, one, all, six] =
            ["10.1.0.0/15", "192.0.2.7", "0.0.0.0/0", "2001:db8::/32"].map(|n| n.parse::<Network>().unwrap());
        assert!(ten.contains(ip("10.0.255.1")) && ten.contains(ip("10.1.2.3")) && !ten.contains(ip("10.2.0.0")));
        assert!(one.contains(ip("192.0.2.7")) && !one.contains(ip("192.0.2.6")));
        assert!(all.contains(ip("203.0.113.1")) && !all.contains(ip("::1")));
        assert!(six.contains(ip("2001:db8:1::1")) && !six.contains(ip("2001:db9::1")));
        for wrong in [
            "",
            "x",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "::/129",
            "10.0.0.0/8/8",
            "proxy.example",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_stranger_is_not_believed_whose_request_it_passes_on() {
        let headers = forwarded(&["203.0.113.9"]);
        assert_eq!(client(ip("198.51.100.1"), &headers, &[]), ip("198.51.100.1"));
        let trusted = networks(&["10.0.0.0/8"]);
        assert_eq!(client(ip("198.51.100.1"), &headers, &trusted), ip("198.51.100.1"));
        assert_eq!(client(ip("10.0.0.1"), &headers, &trusted), ip("203.0.113.9"));
    }

    #[test]
    fn only_the_end_that_our_proxies_wrote_is_believed() {
        let trusted = networks(&["10.0.0.0/8", "::1"]);
        for (lines, expected) in [
            (&["1.1.1.1, 203.0.113.9"][..], "203.0.113.9"),
            (&["1.1.1.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (&["1.1.1.1", "203.0.113.9", "10.0.0.2"], "203.0.113.9"),
            (&["1.1.1.1, nonsense, 10.0.0.2"], "10.0.0.2"),
            (&["10.0.0.3"], "10.0.0.3"),
            (&["::ffff:203.0.113.9"], "203.0.113.9"),
            (&[""], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(
                client(ip("10.0.0.1"), &forwarded(lines), &trusted),
                ip(expected),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn whoever_has_64_bits_of_ipv6_is_one_client() {
        assert_eq!(household(ip("2001:db8:1:2:3:4:5:6")), household(ip("2001:db8:1:2::1")));
        assert_ne!(household(ip("2001:db8:1:2::1")), household(ip("2001:db8:1:3::1")));
        assert_ne!(household(ip("192.0.2.1")), household(ip("192.0.2.2")));
        assert_eq!(household(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }
}
