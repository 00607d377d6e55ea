use proptest::prelude::*;

use super::*;
use crate::directory::{Asker, Entry, Scope};

const ASKER: &str = "one";

fn directory(many: u8) -> Directory {
    let addresses = |range: std::ops::Range<u8>| {
        range.map(|last| IpAddr::from([10, 0, 0, last])).collect::<Vec<_>>()
    };
    let entry = |names: &[&str], addresses| Entry {
        network: "blue".to_owned(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        addresses,
    };
    let mut both = addresses(2..3);
    both.push("fd00::2".parse().unwrap());
    Directory::new(
        [Scope { name: "blue".to_owned(), internal: false }],
        [entry(&["web"], both), entry(&["many"], addresses(10..10 + many))],
        [(ASKER.to_owned(), Asker { networks: vec!["blue".to_owned()], resolvers: vec![] })],
    )
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.id = 4711;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn ask(message: &Message, over: Transport) -> Reply {
    reply(&message.to_vec().unwrap(), &directory(100), ASKER, over, 0)
}

fn answered(message: &Message, over: Transport) -> Message {
    match ask(message, over) {
        Reply::Answer(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn data(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn names_of_ours_are_answered_with_their_addresses() {
    for (kind, expected) in [(RecordType::A, "10.0.0.2"), (RecordType::AAAA, "fd00::2")] {
        let message = answered(&question("wEb.", kind), Transport::Udp);
        assert_eq!(data(&message), [expected]);
        assert_eq!(message.metadata.id, 4711);
        assert!(message.metadata.authoritative && message.metadata.recursion_available);
        let record = message.answers.first().unwrap();
        assert_eq!((record.name.to_ascii().as_str(), record.ttl), ("wEb.", 0));
    }
    assert_eq!(
        data(&answered(&question("web.blue.", RecordType::A), Transport::Udp)),
        ["10.0.0.2"]
    );
}

#[test]
fn what_a_name_of_ours_does_not_have_is_no_error() {
    for kind in [RecordType::MX, RecordType::HTTPS, RecordType::TXT] {
        let message = answered(&question("web.", kind), Transport::Udp);
        assert_eq!(message.metadata.response_code, ResponseCode::NoError);
        assert!(message.answers.is_empty());
    }
    let message = answered(&question("many.", RecordType::AAAA), Transport::Udp);
    assert_eq!(data(&message), [""; 0]);
}

#[test]
fn addresses_lead_back_to_names() {
    let reverse = |address: &str| {
        let name = Name::from(address.parse::<IpAddr>().unwrap());
        question(&name.to_ascii(), RecordType::PTR)
    };
    for address in ["10.0.0.2", "fd00::2"] {
        assert_eq!(data(&answered(&reverse(address), Transport::Udp)), ["web.blue."]);
    }
    assert_eq!(ask(&reverse("10.0.0.9"), Transport::Udp), Reply::Forward);
    assert_eq!(
        ask(&question("0.10.in-addr.arpa.", RecordType::PTR), Transport::Udp),
        Reply::Forward
    );
}

#[test]
fn what_is_not_ours_is_passed_on() {
    for name in ["example.org.", "webb.", ".", "_x._tcp.web."] {
        assert_eq!(ask(&question(name, RecordType::A), Transport::Udp), Reply::Forward, "{name}");
    }
    let mut chaos = question("web.", RecordType::A);
    chaos.queries.first_mut().unwrap().query_class = DNSClass::CH;
    assert_eq!(ask(&chaos, Transport::Udp), Reply::Forward);
}

#[test]
fn those_who_ask_in_turn_are_spread() {
    let bytes = question("many.", RecordType::A).to_vec().unwrap();
    let first = |turn| match reply(&bytes, &directory(3), ASKER, Transport::Udp, turn) {
        Reply::Answer(bytes) => data(&Message::from_vec(&bytes).unwrap()).remove(0),
        other => panic!("{other:?}"),
    };
    let seen: Vec<String> = (0..4).map(first).collect();
    assert_eq!(seen, ["10.0.0.10", "10.0.0.11", "10.0.0.12", "10.0.0.10"]);
}

#[test]
fn a_long_answer_is_cut_in_a_datagram_and_whole_over_a_connection() {
    let plain = question("many.", RecordType::A);
    let mut extended = plain.clone();
    extended.set_edns(Edns::new()).edns.as_mut().unwrap().set_max_payload(4096);
    for message in [&plain, &extended] {
        let cut = answered(message, Transport::Udp);
        assert!(cut.metadata.truncation && cut.answers.len() > 20 && cut.answers.len() < 100);
        assert_eq!(cut.queries, plain.queries);
        assert_eq!(cut.edns.is_some(), message.edns.is_some());
        let whole = answered(message, Transport::Tcp);
        assert!(!whole.metadata.truncation);
        assert_eq!(whole.answers.len(), 100);
    }
    let small = reply(&extended.to_vec().unwrap(), &directory(60), ASKER, Transport::Udp, 0);
    let Reply::Answer(small) = small else { panic!("{small:?}") };
    assert!(small.len() > 512 && small.len() <= 1232);
}

#[test]
fn later_versions_of_edns_are_refused() {
    let mut message = question("web.", RecordType::A);
    message.set_edns(Edns::new()).edns.as_mut().unwrap().set_version(1);
    let told = answered(&message, Transport::Udp);
    assert_eq!(u16::from(told.metadata.response_code), u16::from(ResponseCode::BADVERS));
    assert!(told.answers.is_empty());
}

#[test]
fn what_is_no_question_is_refused_or_ignored() {
    assert_eq!(reply(b"short", &directory(1), ASKER, Transport::Udp, 0), Reply::Ignore);
    let mut response = question("web.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    assert_eq!(ask(&response, Transport::Udp), Reply::Ignore);
    let mut update = question("web.", RecordType::A);
    update.metadata.op_code = OpCode::Update;
    assert_eq!(answered(&update, Transport::Udp).metadata.response_code, ResponseCode::NotImp);
    let mut two = question("web.", RecordType::A);
    two.add_query(Query::query(Name::from_ascii("many.").unwrap(), RecordType::A));
    assert_eq!(answered(&two, Transport::Udp).metadata.response_code, ResponseCode::FormErr);
    let mut torn = question("web.", RecordType::A).to_vec().unwrap();
    torn.truncate(15);
    let Reply::Answer(told) = reply(&torn, &directory(1), ASKER, Transport::Udp, 0) else {
        panic!("ignored")
    };
    let told = Message::from_vec(&told).unwrap();
    assert_eq!((told.metadata.id, told.metadata.response_code), (4711, ResponseCode::FormErr));
}

#[test]
fn an_answer_fits_its_question_only() {
    let asked = question("example.org.", RecordType::A);
    let bytes = asked.to_vec().unwrap();
    let mut told = Message::response(4711, OpCode::Query);
    told.add_queries(asked.queries.iter().cloned());
    assert!(fits(&bytes, &told.to_vec().unwrap()));
    assert!(!fits(&bytes, &bytes));
    assert!(!fits(&bytes, &with_id(told.to_vec().unwrap(), 1)));
    let mut other = told.clone();
    other.queries = question("example.net.", RecordType::A).queries;
    assert!(!fits(&bytes, &other.to_vec().unwrap()));
    let empty = failure(&bytes, ResponseCode::Refused).unwrap();
    assert!(fits(&bytes, &empty) && is_helpless(&empty));
    assert!(!is_helpless(&failure(&bytes, ResponseCode::NXDomain).unwrap()));
}

#[test]
fn a_foreign_answer_too_long_for_the_asker_is_cut_to_its_question() {
    let asked = question("example.org.", RecordType::A);
    let mut told = Message::response(4711, OpCode::Query);
    told.add_queries(asked.queries.iter().cloned());
    let name = asked.queries.first().unwrap().name.clone();
    for last in 0..60 {
        told.add_answer(Record::from_rdata(name.clone(), 60, RData::A(A::new(192, 0, 2, last))));
    }
    let whole = told.to_vec().unwrap();
    let short = fitted(&asked.to_vec().unwrap(), whole.clone());
    let short = Message::from_vec(&short).unwrap();
    assert!(short.metadata.truncation && short.answers.is_empty());
    assert_eq!(short.queries, asked.queries);
    let mut able = asked.clone();
    able.set_edns(Edns::new()).edns.as_mut().unwrap().set_max_payload(4096);
    assert_eq!(fitted(&able.to_vec().unwrap(), whole.clone()), whole);
}

proptest! {
    #[test]
    fn no_bytes_make_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let directory = directory(4);
        for over in [Transport::Udp, Transport::Tcp] {
            if let Reply::Answer(told) = reply(&bytes, &directory, ASKER, over, 7) {
                prop_assert_eq!(id(&told), id(&bytes));
            }
        }
        let _whatever = (fits(&bytes, &bytes), is_helpless(&bytes), fitted(&bytes, bytes.clone()));
    }

    #[test]
    fn whatever_follows_a_question_an_answer_fits_it(tail in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut bytes = question("web.", RecordType::A).to_vec().unwrap();
        bytes.extend(tail);
        if let Reply::Answer(told) = reply(&bytes, &directory(1), ASKER, Transport::Udp, 0) {
            prop_assert!(fits(&bytes, &told) && told.len() <= 1232);
        }
    }
}
