//! Rules written by hand, with nft and both forms of iptables.

use wharf_lab::Iptables;
use wharf_plan::firewall::{Family, Owner, exposure};
use wharf_spec::{PortRange, Proto};

use crate::scene::{LISTENED, Scene, forwarded, incoming};

#[test]
fn a_host_without_rules_is_open() {
    let Some(scene) = Scene::build("no rules") else { return };
    scene.check().all_open();
    assert!(scene.read().ruleset.tables.is_empty());
}

#[test]
fn a_policy_of_nft_is_seen() {
    let Some(scene) = Scene::build("nft policy") else { return };
    scene.nft(
        "table inet filter {
            chain forward { type filter hook forward priority 0; policy drop; }
            chain input { type filter hook input priority 0; policy drop; ct state established,related accept; iif lo accept; meta l4proto ipv6-icmp accept; }
         }",
    );
    let seen = scene.check();
    assert_eq!(
        seen.told()[0][0],
        "nftables drops forwarded packets (policy of chain forward of table inet filter)"
    );
    assert_eq!(
        seen.told()[1][1],
        "nftables drops packets to this host (policy of chain input of table inet filter)"
    );
    let [obstacle, _] = seen.forward;
    for command in forwarded(Family::V4).remedy(&obstacle.unwrap()) {
        scene.sh(&command.replace('"', "'\"'").replace("nft ", "/usr/sbin/nft "));
    }
    let [obstacle, _] = seen.input;
    scene.sh(&incoming(Family::V4).remedy(&obstacle.unwrap()).replace("nft ", "/usr/sbin/nft "));
    scene.check().all_open();
    assert!(scene.bridge_is_open(Family::V4));
}

#[test]
fn rules_of_nft_mean_what_the_kernel_takes_them_for() {
    // Each in a forward chain that drops; answers pass. The published port is 8080 outside and 80
    // inside, the client 10.1.0.1 and fd01::1 on eth0.
    let open = [
        "oifname wharf0 accept",
        "oifname \"wharf*\" accept",
        "iifname { eth0, eth7 } accept",
        "iifname { \"et*\", lo } accept",
        "iif eth0 accept",
        "iif != lo oif wharf0 accept",
        "iif . oif { eth0 . wharf0 } accept",
        "tcp dport 80 accept",
        "tcp dport { 22, 80, 443 } accept",
        "tcp dport 1-1024 accept",
        "tcp dport != 22 accept",
        "tcp dport <= 80 accept",
        "th dport { 70-90 } accept",
        "ip daddr 10.9.0.2 accept; ip6 daddr fd09::2 accept",
        "ip daddr 10.9.0.0/24 accept; ip6 daddr fd09::/16 accept",
        "ip daddr 10.8.0.0/13 accept; ip6 daddr fd00::/9 accept",
        "ip daddr { 10.0.0.0/8, 192.168.0.0/16 } accept; ip6 daddr { fd00::/8 } accept",
        "ip daddr 10.9.0.1-10.9.0.9 accept; ip6 daddr fd09::1-fd09::9 accept",
        "ip daddr . tcp dport { 10.9.0.2 . 80 } accept; ip6 daddr . tcp dport { fd09::2 . 80 } accept",
        "ip daddr . tcp dport { 10.9.0.0/24 . 70-90 } accept; ip6 daddr . tcp dport { fd09::/64 . 80 } accept",
        "meta nfproto ipv4 accept; meta nfproto ipv6 accept",
        "ct state new accept",
        "ct state { new, related } accept",
        "ct state != established accept",
        "ct status dnat accept",
        "ct direction original accept",
        "meta l4proto tcp ct original proto-dst 8080 accept",
        "ct original ip daddr 10.1.0.2 accept; ct original ip6 daddr fd01::2 accept",
        "fib daddr type unicast accept",
        "meta mark 0 accept",
        "meta mark & 0xff == 0 accept",
        "meta mark set 0x10 ; meta mark 0x10 accept",
        "meta mark set meta mark or 0x30 ; meta mark and 0x20 == 0x20 accept",
        "meta pkttype host accept",
        "tcp flags & (syn|ack) == syn accept",
        "tcp flags syn / syn,ack accept",
        "oifname vmap { wharf0 : accept, eth7 : drop }",
        "tcp dport vmap { 22 : drop, 80 : accept }",
        "iifname . tcp dport vmap { eth0 . 80 : jump good }",
        "iifname vmap { lo : drop, * : goto good }",
        "jump good",
        "goto good",
        "jump returns; accept",
        "counter accept",
        "log prefix \"x\" accept",
        "ip daddr @list4 accept; ip6 daddr @list6 accept",
        "accept",
    ];
    let closed = [
        "oifname eth0 accept",
        "oifname \"whar\" accept",
        "iifname != eth0 accept",
        "iif lo accept",
        "tcp dport 8080 accept",
        "tcp dport { 22, 443 } accept",
        "udp dport 80 accept",
        "tcp dport > 80 accept",
        "ip daddr 10.1.0.2 accept; ip6 daddr fd01::2 accept",
        "ip daddr != 10.9.0.0/24 accept; ip6 daddr != fd09::/64 accept",
        "ip saddr 10.7.0.0/16 accept; ip6 saddr fd07::/16 accept",
        "ct state established accept",
        "ct state invalid accept",
        "ct status snat accept",
        "ct direction reply accept",
        "fib daddr type local accept",
        "meta mark 7 accept",
        "ct mark 0x1 accept",
        "meta l4proto udp accept",
        "tcp flags & (syn|ack) == ack accept",
        "oifname vmap { wharf0 : drop, eth0 : accept }",
        "iifname vmap { lo : accept, * : goto returns }",
        "jump returns",
        "goto returns; accept",
        "return; accept",
        "reject; accept",
        "tcp dport 80 reject with tcp reset; accept",
        "jump bad; accept",
    ];
    let Some(scene) = Scene::build("nft rules") else { return };
    for (rules, passes) in
        open.iter().map(|rules| (rules, true)).chain(closed.iter().map(|rules| (rules, false)))
    {
        eprintln!("{rules}");
        scene.nft(&table(rules));
        let seen = scene.check();
        let told = seen.told();
        assert_eq!([told[0][0] == "-", told[0][1] == "-"], [passes; 2], "{rules}: {told:?}");
        scene.sh("/usr/sbin/nft delete table inet theirs");
    }
}

/// One table with `rules`, separated by semicolons, in its forward chain.
fn table(rules: &str) -> String {
    let rules = rules.replace(';', "\n");
    format!(
        "table inet theirs {{
            set list4 {{ type ipv4_addr; flags interval; elements = {{ 10.9.0.0/25, 10.77.0.1 }} }}
            set list6 {{ type ipv6_addr; flags interval; elements = {{ fd09::/64 }} }}
            chain good {{ accept; }}
            chain bad {{ drop; }}
            chain returns {{ return; accept; }}
            chain forward {{
                type filter hook forward priority 10; policy drop;
                iifname \"wharf0\" accept
                iifname \"eth0\" ct state established jump answered
                {rules}
            }}
            chain answered {{ accept; }}
         }}"
    )
}

#[test]
fn an_accept_in_one_table_does_not_save_from_the_next() {
    let Some(scene) = Scene::build("two tables") else { return };
    scene.nft(
        "table inet first { chain forward { type filter hook forward priority -10; accept; } }
         table ip second { chain forward { type filter hook forward priority 10; tcp dport 80 drop; } }",
    );
    let told = scene.check().told();
    let rule = "rule \"meta l4proto tcp th dport 80 drop\" in chain forward of table ip second";
    assert_eq!(told[0][0], format!("nftables drops forwarded packets ({rule})"));
    assert_eq!(told[0][1], "-");
}

#[test]
fn what_is_dropped_before_it_is_rewritten_is_seen() {
    let Some(scene) = Scene::build("raw") else { return };
    scene.nft(
        "table inet early { chain pre { type filter hook prerouting priority raw; tcp dport 8080 drop; } }",
    );
    assert!(scene.check().forward.iter().all(Option::is_some));
    scene.nft("delete table inet early
         table inet late { chain pre { type filter hook prerouting priority 10; tcp dport 8080 drop; } }");
    scene.check().all_open();
}

#[test]
fn a_drop_for_some_is_left_to_the_kernel() {
    let Some(scene) = Scene::build("selective") else { return };
    scene.nft(
        "table inet some { chain forward { type filter hook forward priority 0; ip saddr 203.0.113.0/24 drop; limit rate over 10000/second burst 1000 packets drop; } }",
    );
    scene.check().all_open();
}

/// With the remedies, which have to be taken from what is said.
fn iptables(iptables: Iptables, owner: Owner) {
    let Some(scene) = Scene::build("iptables") else { return };
    if !iptables.works(&scene.host).unwrap() {
        return;
    }
    let ok = |program: &str, args: &str| {
        let args: Vec<&str> = args.split(' ').collect();
        let output = iptables.run(&scene.host, program, &args).unwrap();
        assert!(output.is_success(), "{program} {args:?}: {}", output.stderr);
    };
    let both = |args: &str| ["iptables", "ip6tables"].iter().for_each(|program| ok(program, args));
    both("-P FORWARD DROP");
    both("-P INPUT DROP");
    both("-A INPUT -i lo -j ACCEPT");
    both("-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT");
    ok("ip6tables", "-A INPUT -p ipv6-icmp -j ACCEPT");
    let seen = scene.check();
    let name = owner.to_string();
    let told =
        format!("{name} drops forwarded packets (policy of chain FORWARD of table ip filter)");
    assert_eq!(seen.told()[0][0], told);

    // An accept for somebody else's bridge, then one without the way back.
    both("-A FORWARD -o docker0 -j ACCEPT");
    scene.check();
    both("-A FORWARD -o wharf0 -j ACCEPT");
    assert!(scene.check().forward.iter().all(Option::is_some), "answers do not come back");
    both("-D FORWARD -o wharf0 -j ACCEPT");

    let apply = |command: &str| {
        let (program, args) = command.split_once(' ').unwrap();
        ok(program.trim_end_matches("-legacy"), args);
    };
    for (family, index) in [(Family::V4, 0), (Family::V6, 1)] {
        let obstacle = seen.forward[index].as_ref().unwrap();
        assert_eq!(obstacle.owner, owner);
        forwarded(family).remedy(obstacle).iter().for_each(|command| apply(command));
        apply(&incoming(family).remedy(seen.input[index].as_ref().unwrap()));
    }
    scene.check().all_open();
    assert!(scene.bridge_is_open(Family::V4) && scene.bridge_is_open(Family::V6));
}

#[test]
fn iptables_on_nftables_is_seen_and_remedied() {
    iptables(Iptables::Nft, Owner::IptablesNft);
}

#[test]
fn iptables_legacy_is_seen_and_remedied() {
    iptables(Iptables::Legacy, Owner::IptablesLegacy);
}

/// Rules of iptables with every match that is understood, each in front of a policy to drop.
fn matches(iptables: Iptables) {
    let open = [
        "-o wharf0",
        "-o wharf+",
        "! -o eth0",
        "-i eth+ -o wharf0",
        "-p tcp",
        "-p tcp --dport 80",
        "-p tcp --dport 1:1024",
        "-p tcp ! --dport 22",
        "-p tcp -m multiport --dports 22,70:90",
        "-p tcp -m multiport ! --dports 22,25",
        "-p tcp --syn",
        "-m conntrack --ctstate NEW",
        "-m conntrack --ctstate DNAT",
        "-m conntrack ! --ctstate ESTABLISHED,RELATED",
        "-m conntrack --ctorigdstport 8080 --ctdir ORIGINAL",
        "-m state --state NEW",
        "-m addrtype --dst-type UNICAST",
        "-m addrtype ! --dst-type LOCAL",
        "-m mark --mark 0",
        "-m mark ! --mark 0x1/0x1",
        "-m pkttype --pkt-type unicast",
        "-m comment --comment hello -o wharf0",
        "-d NET",
        "! -d ELSE",
        "-m iprange --dst-range RANGE",
    ];
    let closed = [
        "-o wharf",
        "-i lo",
        "-p udp",
        "-p tcp --dport 8080",
        "-p tcp --sport 1:10",
        "-p tcp -m multiport --dports 22,25",
        "-p tcp ! --syn",
        "-m conntrack --ctstate INVALID,UNTRACKED",
        "-m conntrack --ctstate SNAT",
        "-m conntrack ! --ctstate DNAT",
        "-m conntrack --ctorigdstport 80",
        "-m conntrack --ctdir REPLY",
        "-m addrtype --dst-type LOCAL",
        "-m mark --mark 0x1/0x1",
        "-d ELSE",
    ];
    let Some(scene) = Scene::build("matches") else { return };
    if !iptables.works(&scene.host).unwrap() {
        return;
    }
    let cases = open.iter().map(|rule| (rule, true)).chain(closed.iter().map(|rule| (rule, false)));
    for (rule, passes) in cases {
        for (program, net, elsewhere, range) in [
            ("iptables", "10.9.0.0/24", "10.8.0.0/16", "10.9.0.1-10.9.0.9"),
            ("ip6tables", "fd09::/64", "fd08::/16", "fd09::1-fd09::9"),
        ] {
            let rule = rule.replace("NET", net).replace("ELSE", elsewhere).replace("RANGE", range);
            let rules = format!(
                "*filter\n:INPUT ACCEPT\n:FORWARD DROP\n:OUTPUT ACCEPT\n:theirs -\n:good -\n\
                 -A FORWARD -i wharf0 -j ACCEPT\n\
                 -A FORWARD -i eth0 -m conntrack --ctstate ESTABLISHED -j ACCEPT\n\
                 -A FORWARD -p tcp -j theirs\n-A theirs {rule} -g good\n-A good -j ACCEPT\nCOMMIT\n"
            );
            iptables.restore(&scene.host, program, &rules).unwrap();
        }
        eprintln!("{rule}");
        let told = scene.check().told();
        assert_eq!([told[0][0] == "-", told[0][1] == "-"], [passes; 2], "{rule}: {told:?}");
    }
}

#[test]
fn matches_of_iptables_on_nftables_mean_what_the_kernel_takes_them_for() {
    matches(Iptables::Nft);
}

#[test]
fn matches_of_iptables_legacy_mean_what_the_kernel_takes_them_for() {
    matches(Iptables::Legacy);
}

#[test]
fn tables_nobody_made_are_not_made_by_looking() {
    let Some(scene) = Scene::build("looking") else { return };
    scene.read();
    let names = "cat /proc/thread-self/net/ip_tables_names 2>/dev/null || true";
    assert_eq!(scene.sh(names), "");
}

#[test]
fn the_line_about_exposure_names_the_port() {
    let Some(scene) = Scene::build("exposure") else { return };
    scene.nft(
        "table inet f { chain input { type filter hook input priority 0; tcp dport 9000 drop; } }",
    );
    let [obstacle, _] = scene.check().input;
    let line = exposure(&obstacle.unwrap(), Proto::Tcp, PortRange::single(LISTENED));
    assert!(line.starts_with("the host's firewall blocks 9000/tcp for this host"), "{line}");
}
