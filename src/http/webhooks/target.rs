//! Where a webhook's deliveries go: its URL taken apart, and which addresses are never reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Uri;
use hyper::header::HeaderValue;

use crate::http::address::Network;

pub const MAX_URL: usize = 2048;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub is_tls: bool,
    pub host: String,
    pub port: u16,
    /// The value of `Host`.
    pub authority: HeaderValue,
    /// Path and query.
    pub path: Uri,
}

impl Target {
    /// A fault reads as the end of a sentence that begins with `url`.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        const FAULT: &str = "must be a URL such as https://example.com/hooks";
        if url.len() > MAX_URL {
            return Err("must have at most 2048 characters");
        }
        if !url.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("must have visible ASCII characters only: others are percent-encoded");
        }
        if url.contains('#') {
            return Err("must have no fragment");
        }
        let uri: Uri = url.parse().map_err(|_| FAULT)?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("must begin with https:// or http://"),
        };
        let authority = uri.authority().ok_or(FAULT)?;
        if authority.as_str().contains('@') {
            return Err("must name no user: deliveries are proved by their signature");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => port.parse().map_err(|_| FAULT)?,
            _ if is_tls => 443,
            _ => 80,
        };
        if host.is_empty() || port == 0 {
            return Err(FAULT);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port,
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| FAULT)?,
            path: path.parse().map_err(|_| FAULT)?,
        })
    }

    /// The address that the URL names, where it names no name. Where a name leads, only a delivery finds out.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// Where machines in a cloud find what they may not give away, but for link-local addresses: at Alibaba, Azure, Oracle.
const METADATA: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// The same at Amazon, by what its addresses begin with, and at Google.
const METADATA_OF_AMAZON: [u16; 2] = [0xfd00, 0x0ec2];
const METADATA_OF_GOOGLE: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);

/// Whether deliveries may go to this address: to one of the networks that the operator names, or else to any but those at
/// which no receiver is, and where machines in a cloud find what they may not give away.
pub fn is_allowed(address: IpAddr, networks: &[Network]) -> bool {
    let address = embedded(address.to_canonical());
    if !networks.is_empty() {
        return networks.iter().any(|network| network.contains(address));
    }
    let is_barred = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast() || METADATA.contains(&address),
        IpAddr::V6(address) => {
            let is_of_amazon = address.segments().starts_with(&METADATA_OF_AMAZON);
            address.is_unicast_link_local() || is_of_amazon || address == METADATA_OF_GOOGLE
        }
    };
    !is_barred && !address.is_unspecified() && !address.is_multicast()
}

/// What an address of NAT64 (RFC 6052, `64:ff9b::/96`) stands for, or else the address itself.
fn embedded(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(long) if long.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
            let [.., a, b, c, d] = long.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (url, is_tls, host, port, authority, path) in [
            ("https://example.com", true, "example.com", 443, "example.com", "/"),
            (
                "http://example.com/a/b?c=d",
                false,
                "example.com",
                80,
                "example.com",
                "/a/b?c=d",
            ),
            (
                "http://example.com?c=d",
                false,
                "example.com",
                80,
                "example.com",
                "/?c=d",
            ),
            ("https://[::1]:8443/x", true, "::1", 8443, "[::1]:8443", "/x"),
            ("http://[fe80::1]", false, "fe80::1", 80, "[fe80::1]", "/"),
            ("http://127.0.0.1:9", false, "127.0.0.1", 9, "127.0.0.1:9", "/"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!(
                (target.is_tls, &*target.host, target.port),
                (is_tls, host, port),
                "{url}"
            );
            assert_eq!(
                (target.authority.to_str().unwrap(), &*target.path.to_string()),
                (authority, path),
                "{url}"
            );
        }
    }

    #[test]
    fn a_url_that_cannot_be_delivered_to_is_refused() {
        let long = format!("https://example.com/{}", "a".repeat(MAX_URL));
        for url in [
            "",
            "example.com",
            "/hooks",
            "ftp://example.com",
            "file:///etc/passwd",
            "https://",
            "https:///hooks",
            "https://anna@example.com",
            "https://anna:pw@example.com",
            "https://example.com/#top",
            "https://example.com:0",
            "https://example.com:",
            "https://example.com:65536",
            "https://example.com:x",
            "https://exa mple.com",
            "https://example.com/ü",
            "https://example.com/\r\nx: y",
            &long,
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn no_delivery_goes_where_a_cloud_keeps_its_secrets() {
        let allowed = |address: &str, networks: &[Network]| is_allowed(address.parse().unwrap(), networks);
        for address in [
            "127.0.0.1",
            "::1",
            "10.0.0.7",
            "192.168.1.1",
            "100.100.100.201",
            "fd00::1",
            "fd00:ec3::254",
            "203.0.113.9",
            "2001:db8::1",
        ] {
            assert!(allowed(address, &[]), "{address}");
        }
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "100.100.100.200",
            "::ffff:100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fe80::1",
            "febf::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
        ] {
            assert!(!allowed(address, &[]), "{address}");
        }
        let networks = ["10.0.0.0/8", "169.254.1.1", "fd00:ec2::254"].map(|network| network.parse().unwrap());
        for (address, is_one) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("169.254.1.1", true),
            ("fd00:ec2::254", true),
            ("127.0.0.1", false),
        ] {
            assert_eq!(allowed(address, &networks), is_one, "{address}");
        }
    }
}
