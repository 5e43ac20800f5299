//! Over which network interface the relay is reached, for links that are paid by the byte. Read from the kernel's
//! routing tables (`/proc/net/route`, `/proc/net/ipv6_route`: proc_net(5), net/ipv4/fib_trie.c, net/ipv6/route.c).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The interface that packets to an address leave by: longest prefix, then lowest metric. `lo` for loopback, which the
/// tables do not list. `None` where there is no route.
pub fn interface(to: IpAddr, route: &str, ipv6_route: &str) -> Option<String> {
    if to.is_loopback() {
        return Some("lo".into());
    }
    let routes: Vec<Route> = match to {
        IpAddr::V4(to) => route.lines().skip(1).filter_map(|line| ipv4(line, to)).collect(),
        IpAddr::V6(to) => ipv6_route.lines().filter_map(|line| ipv6(line, to)).collect(),
    };
    let best = routes.into_iter().max_by_key(|route| (route.prefix, std::cmp::Reverse(route.metric)));
    best.map(|route| route.interface)
}

struct Route {
    interface: String,
    prefix: u32,
    metric: u32,
}

/// RTF_UP.
const UP: u32 = 1;

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`, addresses as the machine holds network order.
fn ipv4(line: &str, to: Ipv4Addr) -> Option<Route> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [interface, destination, _, flags, _, _, metric, mask, ..] = fields.as_slice() else { return None };
    let word = |text: &str| u32::from_str_radix(text, 16).ok();
    let (destination, mask) = (word(destination)?, word(mask)?);
    let to = u32::from_ne_bytes(to.octets());
    let fits = to & mask == destination && word(flags)? & UP == UP;
    fits.then(|| Route {
        interface: (*interface).into(),
        prefix: mask.count_ones(),
        metric: metric.parse().unwrap_or(u32::MAX),
    })
}

/// `destination prefix source prefix next-hop metric references use flags interface`, all hexadecimal.
fn ipv6(line: &str, to: Ipv6Addr) -> Option<Route> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [destination, prefix, _, _, _, metric, _, _, flags, interface] = fields.as_slice() else { return None };
    let destination = u128::from_str_radix(destination, 16).ok()?;
    let prefix = u32::from_str_radix(prefix, 16).ok().filter(|prefix| *prefix <= 128)?;
    let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
    let up = u32::from_str_radix(flags, 16).ok()? & UP == UP;
    let fits = to.to_bits() & mask == destination & mask && up && *interface != "lo";
    let metric = u32::from_str_radix(metric, 16).unwrap_or(u32::MAX);
    fits.then(|| Route { interface: (*interface).into(), prefix, metric })
}
