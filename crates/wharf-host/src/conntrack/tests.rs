use super::*;
use crate::netlink::Family;
use crate::netns::Netns;

/// Without it every listing would be one of everything.
#[test]
fn the_kernel_takes_the_filter() {
    let netns = Netns::create().unwrap();
    let mut netlink = netns.open_netlink(Family::Netfilter).unwrap();
    let address = Some("192.0.2.1".parse().unwrap());
    let of_port = |first, last| Some((first, last));
    for (orig_dst, orig_dport) in
        [(address, None), (address, of_port(80, 80)), (None, of_port(80, 80)), (None, None)]
    {
        let filter = FlowFilter { family: None, proto: 6, orig_dst, orig_dport, reply_src: None };
        let family = filter.only_family().map_or(EVERY_FAMILY, IpFamily::number);
        let request = message(family, ConntrackMessage::Get(filter.attributes()));
        match netlink.dump("list with a filter", request) {
            Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => {
                return eprintln!("skipped: this kernel has no filter (before 5.8)");
            }
            listed => assert!(listed.unwrap().is_empty()),
        }
    }
}
