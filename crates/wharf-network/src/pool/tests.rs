use proptest::prelude::*;

use super::*;
use crate::span::overlap;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn the_default_pools_are_all_there() {
    let pools = AddressPools::generate();
    assert_eq!(pools.ipv4.len(), DEFAULT_IPV4.len());
    assert_eq!(pools.pick_ipv4(&[]).unwrap(), net("10.201.0.0/20"));
    let v6 = pools.pick_ipv6(&[]).unwrap();
    assert!(v6.to_string().starts_with("fd"), "{v6}");
    assert_eq!(v6.prefix_len(), 64);
    assert_ne!(AddressPools::generate().ipv6, pools.ipv6);
}

#[test]
fn the_next_network_gets_the_next_subnet() {
    let pools = AddressPools::with_global_id([1, 2, 3, 4, 5]);
    assert_eq!(pools.pick_ipv4(&[net("10.201.0.0/20")]).unwrap(), net("10.201.16.0/20"));
    // One address is enough to block a subnet; a VPN that routes 10/8 blocks two pools.
    assert_eq!(pools.pick_ipv4(&[net("10.201.3.4/32")]).unwrap(), net("10.201.16.0/20"));
    assert_eq!(pools.pick_ipv4(&[net("10.0.0.0/8")]).unwrap(), net("172.16.0.0/24"));
    let first = pools.pick_ipv6(&[]).unwrap();
    assert_eq!(first, net("fd01:203:405::/64"));
    assert_eq!(pools.pick_ipv6(&[first]).unwrap(), net("fd01:203:405:1::/64"));
}

#[test]
fn exhausted_pools_say_what_to_do() {
    let mut pools = AddressPools::with_global_id([0; 5]);
    pools.replace(["10.1.0.0/24:25".parse().unwrap()]);
    let taken = [net("10.1.0.0/25"), net("10.1.0.128/25")];
    let text = pools.pick_ipv4(&taken).unwrap_err().to_string();
    assert!(text.starts_with("all predefined address pools have been fully subnetted"), "{text}");
    assert!(text.contains("10.1.0.0/24:25") && text.contains("--subnet"), "{text}");
    assert_eq!(pools.ipv6.len(), 1);
}

#[test]
fn pool_texts_are_read_and_refused() {
    for text in ["10.201.0.0/16:24", "fd00:1:2::/48:64", "10.0.0.0/30:30"] {
        assert_eq!(text.parse::<Pool>().unwrap().to_string(), text);
    }
    let wrong = [
        ("10.201.0.0/16", "size is missing"),
        ("10.201.0.0/16:x", "not a number"),
        ("nonsense:24", "not a network"),
        ("10.201.0.1/16:24", "outside its prefix"),
        ("10.201.0.0/16:8", "larger than the base"),
        ("10.0.0.0/7:24", "/8 or smaller"),
        ("10.201.0.0/16:31", "four addresses"),
        ("10.201.0.0/16:200", "four addresses"),
        ("fd00::/48:127", "four addresses"),
    ];
    for (text, why) in wrong {
        let error = text.parse::<Pool>().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn the_last_subnet_of_the_address_space_is_not_a_trap() {
    let pool: Pool = "ff00::/8:9".parse().unwrap();
    let taken = [Span::of(net("ff00::/9")), Span::of(net("ff80::/9"))];
    assert_eq!(pool.pick(&taken[..1]), Some(net("ff80::/9")));
    assert_eq!(pool.pick(&taken), None);
}

fn nets() -> impl Strategy<Value = Vec<IpNet>> {
    let v4 = (any::<u16>(), 12_u8..=32).prop_map(|(low, length)| {
        let address = std::net::Ipv4Addr::from(0x0a01_0000 | u32::from(low));
        IpNet::new(address.into(), length).unwrap()
    });
    proptest::collection::vec(v4, 0..40)
}

proptest! {
    #[test]
    fn a_pick_lies_in_the_pool_and_overlaps_nothing(taken in nets(), size in 18_u8..=30) {
        let pool = Pool::new(net("10.1.0.0/16"), size).unwrap();
        let spans = sorted(&taken);
        match pool.pick(&spans) {
            Some(picked) => {
                prop_assert!(pool.base.contains(&picked));
                prop_assert_eq!(picked, picked.trunc());
                prop_assert!(taken.iter().all(|t| !overlap(*t, picked)));
            }
            None => {
                let mut subnets = pool.base.subnets(size).unwrap();
                prop_assert!(subnets.all(|s| taken.iter().any(|t| overlap(*t, s))));
            }
        }
    }

    #[test]
    fn networks_never_share_a_subnet(count in 1_usize..300) {
        let pools = AddressPools::with_global_id([7; 5]);
        let mut taken = Vec::new();
        for _ in 0..count {
            let picked = pools.pick_ipv4(&taken).unwrap();
            prop_assert!(taken.iter().all(|t| !overlap(*t, picked)));
            taken.push(picked);
        }
    }
}
