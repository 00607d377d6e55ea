use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use wharf_spec::{PortRange, Proto};

use super::*;

fn base(hook: Hook, priority: i32, policy: Policy) -> Option<Base> {
    Some(Base { hook, priority, policy })
}

fn rule(matches: Vec<Match>, action: Action) -> Rule {
    Rule { matches, action, ..Rule::default() }
}

fn table(name: &str, chains: Vec<(&str, Chain)>) -> Table {
    let chains = chains.into_iter().map(|(name, chain)| (name.to_owned(), chain)).collect();
    let (family, backend) = (TableFamily::Inet, Backend::Nftables);
    Table { family, name: name.to_owned(), backend, chains }
}

fn forward(policy: Policy, rules: Vec<Rule>) -> Ruleset {
    let chain = Chain { base: base(Hook::Forward, 0, policy), rules };
    Ruleset { tables: vec![table("t", vec![("forward", chain)])] }
}

fn packet() -> Packet {
    Packet {
        proto: Some(Proto::Tcp),
        in_interface: Some("eth0".to_owned()),
        out_interface: Some("wharf0".to_owned()),
        destination: Some("10.9.0.2".parse().unwrap()),
        destination_ports: Some(PortRange::single(80)),
        asked_ports: Some(PortRange::single(8080)),
        destination_rewritten: true,
        ..Packet::new(Family::V4)
    }
}

fn passes(rules: Vec<Rule>) -> bool {
    judge(&forward(Policy::Drop, rules), Hook::Forward, &packet()) == Judgement::Passes
}

/// Whether an accept with this match counts.
fn accepts(field: Field, span: Span, negated: bool) -> bool {
    passes(vec![rule(vec![Match::field(field, [span], negated)], Action::Accept)])
}

#[test]
fn what_is_unknown_is_never_relied_on() {
    let unknown = || vec![Match::Unknown("quota".to_owned())];
    assert!(!passes(vec![rule(unknown(), Action::Accept)]));
    assert!(passes(vec![rule(unknown(), Action::Drop), rule(vec![], Action::Accept)]));
    // The client's address is not known, so neither what it is nor what it is not counts.
    assert!(!accepts(Field::Source4, Span::one(1u32), false));
    assert!(!accepts(Field::Source4, Span::one(1u32), true));
    // An IPv4 packet has no IPv6 address, whatever is said of it.
    assert!(!accepts(Field::Destination6, Span::one(1u32), true));
}

#[test]
fn interfaces_have_names_and_beginnings_of_names() {
    assert!(accepts(Field::OutInterface, Span::interface("wharf0"), false));
    assert!(!accepts(Field::OutInterface, Span::interface("wharf"), false));
    assert!(accepts(Field::OutInterface, Span::interfaces("wharf"), false));
    assert!(accepts(Field::OutInterface, Span::interfaces(""), false));
    assert!(!accepts(Field::InInterface, Span::interfaces("wharf"), false));
}

#[test]
fn a_range_of_ports_passes_as_a_whole_or_not_at_all() {
    let open = |first: u16, last: u16| {
        let mut packet = packet();
        packet.destination_ports = PortRange::new(80, 90);
        let condition = Match::field(Field::DestinationPort, [Span::range(first, last)], false);
        let rules = vec![rule(vec![condition], Action::Accept)];
        judge(&forward(Policy::Drop, rules), Hook::Forward, &packet) == Judgement::Passes
    };
    assert!(open(80, 90) && open(1, 1024));
    assert!(!open(80, 89) && !open(85, 100) && !open(100, 110));
}

#[test]
fn before_the_rewriting_the_published_port_is_seen() {
    let drops = |priority| {
        let condition = Match::field(Field::DestinationPort, [Span::one(8080u16)], false);
        let rules = vec![rule(vec![condition], Action::Drop)];
        let chain = Chain { base: base(Hook::Prerouting, priority, Policy::Accept), rules };
        let ruleset = Ruleset { tables: vec![table("t", vec![("c", chain)])] };
        judge(&ruleset, Hook::Prerouting, &packet()).obstacle().is_some()
    };
    assert!(drops(-300) && drops(-150));
    assert!(!drops(0));
}

#[test]
fn chains_that_go_round_come_to_an_end() {
    let jump = |to: &str| rule(vec![], Action::Jump(to.to_owned()));
    let chain = |rules| Chain { base: None, rules };
    let base = Chain { base: base(Hook::Forward, 0, Policy::Accept), rules: vec![jump("a")] };
    let round = table(
        "t",
        vec![
            ("base", base.clone()),
            ("a", chain(vec![jump("b"), jump("b")])),
            ("b", chain(vec![jump("a"), jump("a")])),
        ],
    );
    let ruleset = Ruleset { tables: vec![round] };
    let obstacle = judge(&ruleset, Hook::Forward, &packet()).obstacle().unwrap();
    assert_eq!(obstacle.denial, Denial::TooLong);

    // A fan of sixty chains, each entered twice by the one before.
    let names: Vec<String> = (0..60).map(|n| format!("c{n}")).collect();
    let mut chains = vec![("base", Chain { rules: vec![jump("c0")], ..base })];
    for (name, next) in names.iter().zip(names.iter().skip(1)) {
        chains.push((name.as_str(), chain(vec![jump(next), jump(next)])));
    }
    let ruleset = Ruleset { tables: vec![table("t", chains)] };
    let obstacle = judge(&ruleset, Hook::Forward, &packet()).obstacle().unwrap();
    assert_eq!(obstacle.denial, Denial::TooLong);
    assert!(obstacle.to_string().contains("more rules"), "{obstacle}");
}

#[test]
fn obstacles_are_told_in_the_words_of_their_owner() {
    let policy = |chain: &str, jumps: &str, name: &str, family| {
        let rules = vec![rule(vec![], Action::Jump(jumps.to_owned()))];
        let chains =
            [(chain.to_owned(), Chain { base: base(Hook::Forward, 0, Policy::Drop), rules })];
        let backend = Backend::Nftables;
        let table = Table { family, name: name.to_owned(), backend, chains: chains.into() };
        let ruleset = Ruleset { tables: vec![table] };
        let asked = Forwarded::to_bridge(Family::V4, "wharf0");
        let obstacle = forward_obstacle(&ruleset, asked).unwrap();
        (obstacle.owner, asked.remedy(&obstacle))
    };
    let (owner, remedy) = policy("FORWARD", "ufw-before-forward", "filter", TableFamily::Ip);
    assert_eq!(
        (owner, remedy.as_slice()),
        (Owner::Ufw, ["ufw route allow out on wharf0".to_owned()].as_slice())
    );
    let (owner, remedy) = policy("FORWARD", "DOCKER-USER", "filter", TableFamily::Ip);
    assert_eq!(owner, Owner::Docker);
    assert_eq!(
        remedy[0],
        "iptables -I DOCKER-USER -o wharf0 -m conntrack --ctstate DNAT -j ACCEPT"
    );
    let (owner, remedy) = policy("FORWARD", "mine", "filter", TableFamily::Ip);
    assert_eq!(owner, Owner::IptablesNft);
    assert_eq!(remedy[1], "iptables -I FORWARD -i wharf0 -m conntrack --ctstate DNAT -j ACCEPT");
    let (owner, remedy) = policy("fwd", "mine", "site", TableFamily::Inet);
    assert_eq!(owner, Owner::Nftables);
    assert_eq!(remedy[0], "nft insert rule inet site fwd oifname \"wharf0\" ct status dnat accept");
}

/// Every field there is.
const FIELDS: [Field; 8] = [
    Field::Family,
    Field::Protocol,
    Field::OutInterface,
    Field::Source4,
    Field::Destination4,
    Field::DestinationPort,
    Field::State,
    Field::Mark,
];

fn any_span() -> impl Strategy<Value = Span> {
    let values = prop_oneof![Just(u128::MAX), Just(0xff), any::<u128>()];
    let small = prop_oneof![0u128..100, any::<u128>()];
    (values, small.clone(), small).prop_map(|(mask, first, last)| Span { mask, first, last })
}

fn any_match() -> impl Strategy<Value = Match> {
    let fields = vec(proptest::sample::select(FIELDS.to_vec()), 0..3);
    let known = (fields, vec(vec(any_span(), 0..3), 0..4), any::<bool>()).prop_map(
        |(fields, any_of, negated)| Match::Fields { fields, any_of: any_of.into(), negated },
    );
    prop_oneof![4 => known, 1 => Just(Match::Unknown("odd".to_owned()))]
}

fn any_action() -> impl Strategy<Value = Action> {
    let name = || (0..5usize).prop_map(|n| format!("c{n}"));
    let plain = prop_oneof![
        Just(Action::Continue),
        Just(Action::Accept),
        Just(Action::Drop),
        Just(Action::Reject),
        Just(Action::Return),
        name().prop_map(Action::Jump),
        name().prop_map(Action::Goto),
    ];
    let entries = vec((vec(any_span(), 0..2), plain.clone()), 0..4);
    let map = entries.prop_map(|entries| Action::Map {
        fields: vec![Field::DestinationPort],
        entries: Arc::from(entries),
    });
    prop_oneof![6 => plain, 1 => map]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let mark = proptest::option::of(
        (any::<u32>(), any::<u32>()).prop_map(|(keep, flip)| MarkChange { keep, flip }),
    );
    (vec(any_match(), 0..3), any_action(), mark).prop_map(|(matches, action, mark)| Rule {
        matches,
        action,
        mark,
        comment: None,
    })
}

fn any_table() -> impl Strategy<Value = Table> {
    let hook = prop_oneof![Just(Hook::Prerouting), Just(Hook::Forward), Just(Hook::Input)];
    let policy = prop_oneof![Just(Policy::Accept), Just(Policy::Drop)];
    let base = proptest::option::of(
        (hook, -300..300i32, policy).prop_map(|(hook, priority, policy)| Base {
            hook,
            priority,
            policy,
        }),
    );
    let chains = vec((base, vec(any_rule(), 0..6)), 5);
    chains.prop_map(|chains| {
        let named = chains.into_iter().enumerate();
        let chains: BTreeMap<_, _> =
            named.map(|(n, (base, rules))| (format!("c{n}"), Chain { base, rules })).collect();
        Table {
            family: TableFamily::Inet,
            name: "t".to_owned(),
            backend: Backend::Nftables,
            chains,
        }
    })
}

fn asked() -> Forwarded<'static> {
    Forwarded {
        arrives_by: Some("eth0"),
        proto: Some(Proto::Tcp),
        target: Some("10.9.0.2".parse().unwrap()),
        target_ports: Some(PortRange::single(80)),
        ..Forwarded::to_bridge(Family::V4, "wharf0")
    }
}

proptest! {
    #[test]
    fn any_rules_come_to_a_judgement_that_can_be_told(tables in vec(any_table(), 0..4)) {
        let ruleset = Ruleset { tables };
        if let Some(obstacle) = forward_obstacle(&ruleset, asked()) {
            prop_assert!(!obstacle.to_string().is_empty());
            prop_assert!(!asked().remedy(&obstacle).is_empty());
        }
    }

    /// One more table can only take away.
    #[test]
    fn no_table_opens_what_another_closes(closed in any_table(), other in any_table()) {
        // Marks are what one table can tell another.
        let mut tables = [closed, other];
        for table in &mut tables {
            table.chains.values_mut().flat_map(|chain| &mut chain.rules).for_each(|rule| rule.mark = None);
        }
        let [closed, other] = tables;
        let alone = Ruleset { tables: vec![closed.clone()] };
        if judge(&alone, Hook::Forward, &packet()) != Judgement::Passes {
            let both = Ruleset { tables: vec![other, closed] };
            prop_assert!(judge(&both, Hook::Forward, &packet()) != Judgement::Passes);
        }
    }

    /// What is not known is not relied on: knowing less never opens a policy that drops.
    #[test]
    fn accepts_alone_open_no_more_to_a_packet_less_is_known_of(matches in vec(vec(any_match(), 0..3), 0..5)) {
        let rules = matches.into_iter().map(|matches| rule(matches, Action::Accept)).collect();
        let ruleset = forward(Policy::Drop, rules);
        let less = Packet {
            proto: None, out_interface: None, destination: None, destination_ports: None, ..packet()
        };
        if judge(&ruleset, Hook::Forward, &less) == Judgement::Passes {
            prop_assert_eq!(judge(&ruleset, Hook::Forward, &packet()), Judgement::Passes);
        }
    }
}
