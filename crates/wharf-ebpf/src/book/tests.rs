use proptest::prelude::*;
use wharf_spec::{PortRange, Proto, PublicationId};

use super::*;
use crate::layout::{AccountBytes, TARGETS_LIMIT};
use crate::mirror::tests::Paper;

/// Maps without a kernel.
struct Sheets {
    published: Paper<Prefix, u32>,
    targets: Paper<u32, TargetBytes>,
    allowed: Paper<Prefix, u32>,
    steered: Paper<Prefix, u32>,
    floors: Paper<u32, FloorBytes>,
    accounts: Paper<u32, AccountBytes>,
}

impl Sheets {
    fn new() -> Self {
        Self {
            published: Paper::new(),
            targets: Paper::new(),
            allowed: Paper::new(),
            steered: Paper::new(),
            floors: Paper::new(),
            accounts: Paper::new(),
        }
    }

    fn book(&self) -> Book {
        Book {
            published: Mirror::new("published", 0, self.published.clone()),
            targets: Mirror::new("targets", TARGETS_LIMIT, self.targets.clone()),
            allowed: Mirror::new("allowed", 0, self.allowed.clone()),
            steered: Mirror::new("steered", 0, self.steered.clone()),
            floors: Mirror::new("floors", 0, self.floors.clone()),
            accounts: Accounts::of(self.accounts.clone()),
            entries: Entries::default(),
        }
    }

    fn writes(&self) -> usize {
        self.published.writes()
            + self.targets.writes()
            + self.allowed.writes()
            + self.steered.writes()
            + self.floors.writes()
            + self.accounts.writes()
    }
}

fn apply(book: &mut Book, plan: &EbpfPlan) -> Result<()> {
    let (removed, added) = (book.plan().without(plan), plan.without(&book.plan()));
    check(&book.entries, &removed, &added)?;
    book.enact(&removed, &added)
}

fn ports(first: u16, last: u16) -> PortRange {
    PortRange::new(first, last).unwrap()
}

fn connect(id: &str, host: Option<&str>, range: PortRange, target: &str) -> Connect {
    Connect {
        publication: PublicationId(id.into()),
        proto: Proto::Tcp,
        host: host.map(|text| text.parse().unwrap()),
        ports: range,
        target: target.parse().unwrap(),
        target_ports: range,
        from: Vec::new(),
        keeps_host: false,
    }
}

fn steer(id: &str, host: &str, range: PortRange) -> Steer {
    let publication = PublicationId(id.into());
    Steer { publication, proto: Proto::Udp, host: host.parse().unwrap(), ports: range }
}

fn plan(connects: &[Connect], steers: &[Steer]) -> EbpfPlan {
    let (connects, steers) = (connects.iter().cloned(), steers.iter().cloned());
    EbpfPlan { connects: connects.collect(), steers: steers.collect() }
}

#[test]
fn a_plan_in_force_is_not_written_again() {
    let sheets = Sheets::new();
    let mut book = sheets.book();
    let mut web = connect("web", None, ports(8000, 8099), "10.77.0.2");
    web.from = vec!["192.0.2.0/24".parse().unwrap()];
    let wanted = plan(&[web], &[steer("web", "::", ports(8000, 8099))]);
    apply(&mut book, &wanted).unwrap();
    let writes = sheets.writes();
    apply(&mut book, &wanted).unwrap();
    assert_eq!(sheets.writes(), writes);
    let mut other = sheets.book();
    other.reload().unwrap();
    assert_eq!(other.plan(), wanted);
    apply(&mut other, &wanted).unwrap();
    other.tidy().unwrap();
    assert_eq!(sheets.writes(), writes);
}

#[test]
fn another_target_is_one_write() {
    let sheets = Sheets::new();
    let mut book = sheets.book();
    apply(&mut book, &plan(&[connect("web", None, ports(1, 65_534), "10.77.0.2")], &[])).unwrap();
    let writes = sheets.writes();
    apply(&mut book, &plan(&[connect("web", None, ports(1, 65_534), "10.77.0.3")], &[])).unwrap();
    assert_eq!(sheets.writes(), writes + 1);
}

#[test]
fn what_was_half_written_is_tidied_away() {
    let sheets = Sheets::new();
    let mut book = sheets.book();
    let whole = plan(&[connect("web", None, ports(80, 80), "10.77.0.2")], &[]);
    apply(&mut book, &whole).unwrap();
    book.targets.put(99, [1; 32]).unwrap();
    let half = Front::of_connect(&connect("x", None, ports(1000, 1999), "10.77.0.2"));
    book.published.put(spot_prefixes(&half, Scope::Address)[1], 99).unwrap();
    book.allowed.put(allowed_prefix(7, "10.0.0.0/8".parse().unwrap()), 7).unwrap();
    let mut next = sheets.book();
    next.reload().unwrap();
    assert_eq!(next.plan(), whole);
    apply(&mut next, &whole).unwrap();
    next.tidy().unwrap();
    assert_eq!(next.targets.read().unwrap().len(), 1);
    assert_eq!(next.published.read().unwrap().len(), 1);
    assert!(next.allowed.read().unwrap().is_empty());
}

#[test]
fn two_entries_cannot_have_the_same_ports() {
    let sheets = Sheets::new();
    let mut book = sheets.book();
    let web = connect("web", None, ports(8000, 8009), "10.77.0.2");
    apply(&mut book, &plan(std::slice::from_ref(&web), &[])).unwrap();
    let db = connect("db", None, ports(8005, 8005), "10.77.0.3");
    let both = plan(&[web.clone(), db.clone()], &[]);
    let refused = apply(&mut book, &both).unwrap_err();
    assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
    let text = "8005/tcp at 0.0.0.0 is to go to both 10.77.0.3 and 10.77.0.2";
    assert_eq!(refused.to_string(), text);
    let beside = connect("db", Some("127.0.0.1"), ports(8005, 8005), "10.77.0.3");
    apply(&mut book, &plan(&[web, beside], &[])).unwrap();
    apply(&mut book, &plan(&[db], &[])).unwrap();
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_changes() {
    let sheets = Sheets::new();
    let mut book = sheets.book();
    let other_family = connect("web", Some("::1"), ports(80, 80), "10.77.0.2");
    let mut fewer = connect("web", None, ports(80, 81), "10.77.0.2");
    fewer.target_ports = ports(80, 80);
    let nameless = connect("", None, ports(80, 80), "10.77.0.2");
    let mut sctp = connect("web", None, ports(80, 80), "10.77.0.2");
    sctp.proto = Proto::Sctp;
    for wrong in [other_family, fewer, nameless, sctp] {
        let refused = apply(&mut book, &plan(&[wrong], &[])).unwrap_err();
        assert!(matches!(refused, Error::Impossible { .. }), "{refused}");
    }
    assert_eq!(sheets.writes(), 0);
}

#[test]
fn ranges_at_two_addresses_share_what_guards_them() {
    let sheets = Sheets::new();
    let mut book = sheets.book();
    let (one, two) =
        (steer("a", "10.1.0.2", ports(1000, 1999)), steer("b", "10.1.0.3", ports(1000, 1999)));
    apply(&mut book, &plan(&[], &[one.clone(), two.clone()])).unwrap();
    assert_ne!(book.floor_of(&one), book.floor_of(&two));
    apply(&mut book, &plan(&[], std::slice::from_ref(&two))).unwrap();
    let key = any_keys(&Front::of_steer(&two))[0];
    assert!(book.steered.get(&key).is_some());
    apply(&mut book, &EbpfPlan::default()).unwrap();
    assert!(book.steered.read().unwrap().is_empty());
    assert!(book.floors.read().unwrap().is_empty());
}

fn any_connect() -> impl Strategy<Value = Connect> {
    let host = prop_oneof![Just(None), Just(Some("127.0.0.1")), Just(Some("10.1.0.2"))];
    let from = prop::sample::subsequence(vec!["10.0.0.0/8", "127.0.0.1/32", "192.0.2.0/24"], 0..3);
    (0..4_u8, host, 0..40_u16, 0..9_u16, 2..5_u8, from, any::<bool>()).prop_map(
        |(id, host, first, more, target, from, keeps_host)| Connect {
            from: from.iter().map(|net| net.parse().unwrap()).collect(),
            keeps_host,
            ..connect(
                &id.to_string(),
                host,
                ports(first, first + more),
                &format!("10.77.0.{target}"),
            )
        },
    )
}

fn any_steer() -> impl Strategy<Value = Steer> {
    let host = prop_oneof![Just("0.0.0.0"), Just("::"), Just("10.1.0.2")];
    (0..4_u8, host, 0..40_u16, 0..40_u16).prop_map(|(id, host, first, more)| {
        steer(&id.to_string(), host, ports(first, first + more))
    })
}

/// A plan without contradictions.
fn any_plan() -> impl Strategy<Value = EbpfPlan> {
    let entries =
        (prop::collection::vec(any_connect(), 0..12), prop::collection::vec(any_steer(), 0..4));
    entries.prop_map(|(connects, steers)| {
        let mut wanted = EbpfPlan::default();
        for connect in connects {
            let more = EbpfPlan { connects: [connect].into(), ..EbpfPlan::default() };
            add_if_possible(&mut wanted, more);
        }
        for steer in steers {
            add_if_possible(
                &mut wanted,
                EbpfPlan { steers: [steer].into(), ..EbpfPlan::default() },
            );
        }
        wanted
    })
}

fn add_if_possible(wanted: &mut EbpfPlan, more: EbpfPlan) {
    let mut both = wanted.clone();
    both.add(more);
    if check(&Entries::default(), &EbpfPlan::default(), &both).is_ok() {
        *wanted = both;
    }
}

proptest! {
    #[test]
    fn any_plan_after_any_other_is_what_the_maps_hold(plans in prop::collection::vec(any_plan(), 1..5)) {
        let sheets = Sheets::new();
        let mut book = sheets.book();
        for wanted in plans {
            apply(&mut book, &wanted).unwrap();
            prop_assert_eq!(&book.plan(), &wanted);
            prop_assert_eq!(&book.read().unwrap(), &wanted);
            let mut next = sheets.book();
            next.reload().unwrap();
            let writes = sheets.writes();
            next.tidy().unwrap();
            prop_assert_eq!(sheets.writes(), writes, "nothing is left over");
        }
    }
}
