//! Which addresses are not simply somewhere in the internet: they are reached only by grants that
//! name them. From IANA's registries of special-purpose addresses.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network, and what its addresses are called.
type Special = (IpNet, &'static str);

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6([a, b, c]: [u16; 3], prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix))
}

const fn low([f, g, h]: [u16; 3], prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, f, g, h), prefix))
}

/// The first that holds an address says what it is.
const SPECIAL: [Special; 37] = [
    (v4([169, 254, 169, 254], 32), "the metadata service of clouds"),
    (
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128)),
        "the metadata service of clouds",
    ),
    (v4([127, 0, 0, 0], 8), "a loopback address"),
    (v4([10, 0, 0, 0], 8), "a private address"),
    (v4([172, 16, 0, 0], 12), "a private address"),
    (v4([192, 168, 0, 0], 16), "a private address"),
    (v4([169, 254, 0, 0], 16), "a link-local address"),
    (v4([100, 64, 0, 0], 10), "an address of a carrier's network (CGNAT)"),
    (v4([0, 0, 0, 0], 8), "an unspecified address"),
    (v4([192, 0, 0, 0], 24), "an address of a protocol"),
    (v4([192, 0, 2, 0], 24), "an address for documentation"),
    (v4([198, 51, 100, 0], 24), "an address for documentation"),
    (v4([203, 0, 113, 0], 24), "an address for documentation"),
    (v4([192, 88, 99, 0], 24), "a 6to4 relay"),
    (v4([198, 18, 0, 0], 15), "an address for benchmarks"),
    (v4([224, 0, 0, 0], 4), "a multicast address"),
    (v4([240, 0, 0, 0], 4), "a reserved address"),
    (low([0, 0, 0], 128), "an unspecified address"),
    (low([0, 0, 1], 128), "a loopback address"),
    (low([0xffff, 0, 0], 96), "an IPv4-mapped address"),
    (low([0, 0, 0], 96), "an IPv4-compatible address"),
    (v6([0x64, 0xff9b, 0], 96), "an IPv4 address behind NAT64"),
    (v6([0x64, 0xff9b, 1], 48), "an IPv4 address behind NAT64"),
    (v6([0x2002, 0, 0], 16), "a 6to4 address"),
    (v6([0x2001, 0, 0], 32), "a Teredo address"),
    (v6([0x2001, 0, 0], 23), "an address of a protocol"),
    (v6([0x2001, 0xdb8, 0], 32), "an address for documentation"),
    (v6([0x3fff, 0, 0], 20), "an address for documentation"),
    (v6([0xfc00, 0, 0], 7), "a private address"),
    (v6([0xfe80, 0, 0], 10), "a link-local address"),
    (v6([0xfec0, 0, 0], 10), "a private address"),
    (v6([0xff00, 0, 0], 8), "a multicast address"),
    // Of all IPv6 only 2000::/3 is given out.
    (v6([0, 0, 0], 3), "a reserved address"),
    (v6([0x4000, 0, 0], 3), "a reserved address"),
    (v6([0x6000, 0, 0], 3), "a reserved address"),
    (v6([0x8000, 0, 0], 2), "a reserved address"),
    (v6([0xc000, 0, 0], 2), "a reserved address"),
];

/// What `address` is, and by which network, if it is not simply somewhere in the internet.
pub fn special(address: IpAddr) -> Option<(&'static str, IpNet)> {
    let found = SPECIAL.iter().find(|(net, _)| net.contains(&address));
    found.map(|(net, what)| (*what, *net))
}

/// Whether there is an address in `net` that is [`special`].
pub fn has_special(net: &IpNet) -> bool {
    SPECIAL.iter().any(|(special, _)| special.contains(net) || net.contains(special))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_not_special() {
        let table = [
            ("8.8.8.8", None),
            ("100.63.255.255", None),
            ("172.32.0.1", None),
            ("2606:4700::1111", None),
            ("2a00:1450:4001:80b::200e", None),
            ("2001:200::1", None),
            ("127.0.0.1", Some("loopback")),
            ("127.255.255.254", Some("loopback")),
            ("::1", Some("loopback")),
            ("0.0.0.0", Some("unspecified")),
            ("0.1.2.3", Some("unspecified")),
            ("::", Some("unspecified")),
            ("10.1.2.3", Some("private")),
            ("172.16.0.1", Some("private")),
            ("172.31.255.255", Some("private")),
            ("192.168.1.1", Some("private")),
            ("fd12::1", Some("private")),
            ("fec0::1", Some("private")),
            ("169.254.169.254", Some("metadata")),
            ("fd00:ec2::254", Some("metadata")),
            ("169.254.1.1", Some("link-local")),
            ("fe80::1", Some("link-local")),
            ("100.64.0.1", Some("CGNAT")),
            ("100.100.100.200", Some("CGNAT")),
            ("224.0.0.1", Some("multicast")),
            ("ff02::1", Some("multicast")),
            ("255.255.255.255", Some("reserved")),
            ("::ffff:8.8.8.8", Some("IPv4-mapped")),
            ("::ffff:127.0.0.1", Some("IPv4-mapped")),
            ("::127.0.0.1", Some("IPv4-compatible")),
            ("64:ff9b::7f00:1", Some("NAT64")),
            ("64:ff9b:1::1", Some("NAT64")),
            ("2002:7f00:1::", Some("6to4")),
            ("2001::1", Some("Teredo")),
            ("2001:db8::1", Some("documentation")),
            ("192.0.2.1", Some("documentation")),
            ("198.19.0.1", Some("benchmarks")),
            ("5f00::1", Some("reserved")),
            ("9000::1", Some("reserved")),
        ];
        for (address, expected) in table {
            let found = special(address.parse().unwrap()).map(|(what, _)| what);
            match (found, expected) {
                (None, None) => {}
                (Some(what), Some(part)) if what.contains(part) => {}
                _ => panic!("{address}: {found:?}, not {expected:?}"),
            }
        }
        for (net, expected) in [("8.0.0.0/8", false), ("0.0.0.0/0", true), ("10.1.0.0/16", true)] {
            assert_eq!(has_special(&net.parse().unwrap()), expected, "{net}");
        }
    }
}
