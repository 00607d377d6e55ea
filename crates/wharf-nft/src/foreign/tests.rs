use proptest::collection::vec;
use proptest::prelude::*;
use wharf_host::nftables::foreign::{
    Compared, Expression, Fall, Foreign, ForeignBase, ForeignChain, ForeignElement, ForeignRule,
    ForeignSet, Register,
};
use wharf_plan::firewall::{Family, Field, Forwarded, Match, Ruleset, Span, forward_obstacle};

use super::nftables::tables;

fn chain() -> ForeignChain {
    let base = ForeignBase { kind: "filter".to_owned(), hook: 2, priority: 0, drops: true };
    ForeignChain { family: 1, table: "t".to_owned(), name: "c".to_owned(), base: Some(base) }
}

fn foreign(expressions: Vec<Expression>, sets: Vec<ForeignSet>) -> Foreign {
    let rule = ForeignRule {
        family: 1,
        table: "t".to_owned(),
        chain: "c".to_owned(),
        expressions,
        comment: None,
    };
    let interfaces = vec![(1, "lo".to_owned()), (2, "eth0".to_owned())];
    Foreign { chains: vec![chain()], rules: vec![rule], sets, interfaces }
}

fn matches(expressions: Vec<Expression>, sets: Vec<ForeignSet>) -> Vec<Match> {
    let tables = tables(&foreign(expressions, sets));
    tables[0].chains["c"].rules[0].matches.clone()
}

fn set(flags: u32, key_length: usize, elements: Vec<ForeignElement>) -> ForeignSet {
    let elements = Some(elements);
    ForeignSet {
        family: 1,
        table: "t".to_owned(),
        name: "s".to_owned(),
        flags,
        key_length,
        elements,
    }
}

fn key(bytes: &[u8]) -> ForeignElement {
    ForeignElement { key: Some(bytes.to_vec()), ..ForeignElement::default() }
}

fn ends(bytes: &[u8]) -> ForeignElement {
    ForeignElement { ends_a_range: true, ..key(bytes) }
}

const FIRST: Register = Register::At(0);

fn dport() -> Expression {
    Expression::Payload { base: 2, offset: 2, length: 2, to: FIRST }
}

fn lookup() -> Expression {
    Expression::Lookup { set: "s".to_owned(), from: FIRST, to: None, negated: false }
}

#[test]
fn a_tree_of_ranges_is_put_together() {
    let set = set(4, 2, vec![ends(&[0, 0]), key(&[0, 80]), ends(&[0, 91]), key(&[1, 0])]);
    let spans = [Span::range(80u16, 90u16), Span::range(256u16, u16::MAX)];
    assert_eq!(
        matches(vec![dport(), lookup()], vec![set]),
        [Match::field(Field::DestinationPort, spans, false)]
    );
}

#[test]
fn names_of_interfaces_that_begin_alike_are_one() {
    let mut first = [0; 16];
    first[..3].copy_from_slice(b"eth");
    let mut after = first;
    after[2] += 1;
    let load = Expression::Meta { key: 6, to: FIRST };
    assert_eq!(
        matches(vec![load, lookup()], vec![set(4, 16, vec![key(&first), ends(&after)])]),
        [Match::field(Field::InInterface, [Span::interfaces("eth")], false)]
    );
}

#[test]
fn a_set_that_was_not_read_is_unknown() {
    let unread = ForeignSet { elements: None, ..set(0, 2, Vec::new()) };
    let unknown = [Match::Unknown("set s".to_owned())];
    assert_eq!(matches(vec![dport(), lookup()], vec![unread]), unknown);
    assert_eq!(matches(vec![dport(), lookup()], Vec::new()), unknown);
}

#[test]
fn an_address_without_a_family_is_unknown() {
    let load = Expression::Payload { base: 1, offset: 12, length: 4, to: FIRST };
    let compare =
        Expression::Compare { from: FIRST, how: Compared::Equal, with: vec![10, 0, 0, 1] };
    let unknown = [Match::Unknown("comparison".to_owned())];
    assert_eq!(matches(vec![load.clone(), compare.clone()], Vec::new()), unknown);
    let family = [
        Expression::Meta { key: 15, to: FIRST },
        Expression::Compare { from: FIRST, how: Compared::Equal, with: vec![2] },
    ];
    let known = matches([&family[..], &[load, compare]].concat(), Vec::new());
    assert_eq!(known[1], Match::field(Field::Source4, [Span::one(0x0a00_0001u32)], false));
}

#[test]
fn an_interface_is_known_by_its_number() {
    let compare = |index: u32| {
        let with = index.to_ne_bytes().to_vec();
        let load = Expression::Meta { key: 4, to: FIRST };
        matches(vec![load, Expression::Compare { from: FIRST, how: Compared::Equal, with }], vec![])
    };
    assert_eq!(compare(2), [Match::field(Field::InInterface, [Span::interface("eth0")], false)]);
    assert_eq!(compare(7), [Match::Unknown("comparison".to_owned())]);
}

fn any_register() -> impl Strategy<Value = Register> {
    prop_oneof![Just(Register::Verdict), (0..16usize).prop_map(|word| Register::At(4 * word))]
}

fn any_expression() -> impl Strategy<Value = Expression> {
    let bytes = || vec(any::<u8>(), 0..20);
    let how = prop_oneof![Just(Compared::Equal), Just(Compared::NotEqual), Just(Compared::Greater)];
    let register = any_register;
    prop_oneof![
        (0..30u32, register()).prop_map(|(key, to)| Expression::Meta { key, to }),
        (0..30u32, register()).prop_map(|(key, from)| Expression::SetMeta { key, from }),
        (0..4u32, 0..40u32, 0..24u32, register()).prop_map(|(base, offset, length, to)| {
            Expression::Payload { base, offset, length, to }
        }),
        (0..24u32, proptest::option::of(0..2u8), register())
            .prop_map(|(key, direction, to)| Expression::Conntrack { key, direction, to }),
        (register(), register(), bytes(), bytes())
            .prop_map(|(from, to, mask, xor)| Expression::Bitwise { from, to, mask, xor }),
        (register(), how, bytes()).prop_map(|(from, how, with)| Expression::Compare {
            from,
            how,
            with
        }),
        (register(), any::<bool>(), bytes(), bytes()).prop_map(|(from, negated, first, last)| {
            Expression::Range { from, negated, first, last }
        }),
        (register(), proptest::option::of(register()), any::<bool>()).prop_map(
            |(from, to, negated)| Expression::Lookup { set: "s".to_owned(), from, to, negated }
        ),
        (register(), bytes()).prop_map(|(to, value)| Expression::Immediate { to, value }),
        (
            proptest::sample::select(vec!["tcp", "conntrack", "multiport", "odd"]),
            0..5u32,
            vec(any::<u8>(), 0..200)
        )
            .prop_map(|(name, revision, data)| Expression::Match {
                name: name.to_owned(),
                revision,
                data
            }),
        Just(Expression::Fall(Fall::Jump("c".to_owned()))),
        Just(Expression::Fall(Fall::Accept)),
    ]
}

proptest! {
    #[test]
    fn any_rule_is_read_and_judged(
        expressions in vec(any_expression(), 0..8),
        keys in vec((vec(any::<u8>(), 0..20), any::<bool>()), 0..6),
        (flags, key_length) in (0..16u32, 0..24usize),
    ) {
        let elements = keys.iter().map(|(bytes, end)| if *end { ends(bytes) } else { key(bytes) });
        let set = set(flags, key_length, elements.collect());
        let ruleset = Ruleset { tables: tables(&foreign(expressions, vec![set])) };
        let asked = Forwarded::to_bridge(Family::V4, "wharf0");
        if let Some(obstacle) = forward_obstacle(&ruleset, asked) {
            prop_assert!(!obstacle.to_string().is_empty());
        }
    }
}
