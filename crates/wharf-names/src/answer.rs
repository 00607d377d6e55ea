//! From the bytes of a question to the bytes of an answer, without I/O.
//!
//! What is asked of us is read no further than needed: a question about a name that is no
//! container's is passed on as it came, extensions and all, and so is what comes back.

use std::net::IpAddr;

use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::directory::Directory;

/// Names move as containers start, stop and are renamed; nobody is to remember where one was.
const TTL: u32 = 0;
/// What fits into a datagram when the asker says nothing (RFC 1035, section 2.3.4).
const PLAIN_LIMIT: usize = 512;
/// More than this is cut over UDP whatever the asker says it can take: it is what passes every
/// network unfragmented, by the DNS flag day of 2020.
const EDNS_LIMIT: u16 = 1232;
/// The first two bytes are the id; the next two flags; then four counts.
const HEADER: usize = 12;
const TRUNCATED: u8 = 0b10;

/// How a question came, which limits the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// Over a connection.
    Tcp,
}

/// What becomes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is answered with these bytes.
    Answer(Vec<u8>),
    /// It is for other resolvers, as it is.
    Forward,
    /// It is no question, and nobody waits for an answer.
    Ignore,
}

/// Answers `question` of `asker`. Where several addresses fit, `turn` chooses which comes first, so
/// that those who ask in turn are spread over them.
pub fn reply(
    question: &[u8],
    directory: &Directory,
    asker: &str,
    over: Transport,
    turn: usize,
) -> Reply {
    let mut decoder = BinDecoder::new(question);
    let Ok(header) = Header::read(&mut decoder) else { return Reply::Ignore };
    if header.metadata.message_type == MessageType::Response {
        return Reply::Ignore;
    }
    if header.metadata.op_code != OpCode::Query {
        return refusal(question, ResponseCode::NotImp);
    }
    if header.counts.queries != 1 {
        return refusal(question, ResponseCode::FormErr);
    }
    let Ok(query) = Query::read(&mut decoder) else {
        return refusal(question, ResponseCode::FormErr);
    };
    let Some(found) = look_up(&query, directory, asker) else { return Reply::Forward };
    let Ok(whole) = Message::from_vec(question) else {
        return refusal(question, ResponseCode::FormErr);
    };
    let encoded = encode(&whole, rotated(found, turn), over);
    encoded.map_or_else(|_| refusal(question, ResponseCode::ServFail), Reply::Answer)
}

/// An answer to `question` that says no more than `code`; `None` when it is no question.
pub fn failure(question: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    let mut decoder = BinDecoder::new(question);
    let header = Header::read(&mut decoder).ok()?;
    let asked = header.metadata;
    let mut message = Message::response(asked.id, asked.op_code);
    message.metadata.recursion_desired = asked.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    if header.counts.queries == 1
        && let Ok(query) = Query::read(&mut decoder)
    {
        message.add_query(query);
    }
    message.to_vec().ok()
}

/// Whether `answer` answers `question`: the same id and the same question.
pub fn fits(question: &[u8], answer: &[u8]) -> bool {
    let (mut asked, mut told) = (BinDecoder::new(question), BinDecoder::new(answer));
    let (Ok(asking), Ok(telling)) = (Header::read(&mut asked), Header::read(&mut told)) else {
        return false;
    };
    if telling.metadata.message_type != MessageType::Response
        || telling.metadata.id != asking.metadata.id
    {
        return false;
    }
    // Some say what they cannot do without saying what they were asked.
    if telling.counts.queries == 0 && telling.metadata.response_code != ResponseCode::NoError {
        return true;
    }
    match (Query::read(&mut asked), Query::read(&mut told)) {
        (Ok(asked), Ok(told)) => asked == told,
        _ => false,
    }
}

/// Whether another resolver may know better than the one that gave `answer`.
pub fn is_helpless(answer: &[u8]) -> bool {
    let code = Header::read(&mut BinDecoder::new(answer)).map(|it| it.metadata.response_code);
    !matches!(code, Ok(ResponseCode::NoError | ResponseCode::NXDomain))
}

/// The id of a message.
pub fn id(message: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*message.first_chunk::<2>()?))
}

/// The same message with another id.
pub fn with_id(mut message: Vec<u8>, id: u16) -> Vec<u8> {
    if let Some(place) = message.first_chunk_mut::<2>() {
        *place = id.to_be_bytes();
    }
    message
}

/// The answer of another resolver as it may go back to whoever asked `question` in a datagram: cut
/// to the question, and said to be cut, when it is longer than the asker can take.
pub fn fitted(question: &[u8], answer: Vec<u8>) -> Vec<u8> {
    if answer.len() <= PLAIN_LIMIT {
        return answer;
    }
    let limit = Message::from_vec(question).map_or(PLAIN_LIMIT, |it| it.max_payload().into());
    if answer.len() <= limit { answer } else { cut(answer) }
}

fn cut(mut answer: Vec<u8>) -> Vec<u8> {
    let mut decoder = BinDecoder::new(&answer);
    let questions = Header::read(&mut decoder).map_or(0, |header| header.counts.queries);
    let whole = questions == 1 && Query::read(&mut decoder).is_ok();
    let end = if whole { decoder.index() } else { HEADER };
    answer.truncate(end);
    if let Some([_, _, flags, _, counts @ ..]) = answer.first_chunk_mut::<HEADER>() {
        *flags |= TRUNCATED;
        *counts = [0, u8::from(whole), 0, 0, 0, 0, 0, 0];
    }
    answer
}

fn refusal(question: &[u8], code: ResponseCode) -> Reply {
    failure(question, code).map_or(Reply::Ignore, Reply::Answer)
}

/// What the directory has to say; `None` when the name is none of its own. A name of ours has no
/// records but addresses, which is an answer, too: others would only say that it does not exist.
fn look_up(query: &Query, directory: &Directory, asker: &str) -> Option<Vec<RData>> {
    if !matches!(query.query_class, DNSClass::IN | DNSClass::ANY) {
        return None;
    }
    let name = query.name.to_ascii();
    if let Some(addresses) = directory.addresses(asker, &name) {
        return Some(addresses.iter().filter_map(|it| address(query.query_type, *it)).collect());
    }
    if query.query_type != RecordType::PTR {
        return None;
    }
    let net =
        query.name.parse_arpa_name().ok().filter(|net| net.prefix_len() == net.max_prefix_len());
    let found = directory.name_at(asker, net?.addr())?;
    let target = Name::from_ascii(format!("{found}.")).ok()?;
    Some(vec![RData::PTR(PTR(target))])
}

fn address(wanted: RecordType, address: IpAddr) -> Option<RData> {
    match (address, wanted) {
        (IpAddr::V4(v4), RecordType::A | RecordType::ANY) => Some(RData::A(A(v4))),
        (IpAddr::V6(v6), RecordType::AAAA | RecordType::ANY) => Some(RData::AAAA(AAAA(v6))),
        _ => None,
    }
}

fn rotated(mut found: Vec<RData>, turn: usize) -> Vec<RData> {
    let by = turn.checked_rem(found.len()).unwrap_or(0);
    found.rotate_left(by);
    found
}

fn encode(asked: &Message, found: Vec<RData>, over: Transport) -> Result<Vec<u8>, ProtoError> {
    let mut message = Message::response(asked.metadata.id, OpCode::Query);
    message.metadata.authoritative = true;
    message.metadata.recursion_desired = asked.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.add_queries(asked.queries.iter().cloned());
    if let Some(theirs) = &asked.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_LIMIT);
        message.set_edns(edns);
        // RFC 6891, section 6.1.3: what a later version means is not known.
        if theirs.version() > 0 {
            message.metadata.response_code = ResponseCode::BADVERS;
            return message.to_vec();
        }
    }
    let name = asked.queries.first().map(|query| query.name.clone()).unwrap_or_default();
    message.add_answers(found.into_iter().map(|data| Record::from_rdata(name.clone(), TTL, data)));
    let limit = match over {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => usize::from(asked.max_payload().min(EDNS_LIMIT)),
    };
    within(message, limit)
}

/// As many of the answers as fit: musl before 1.2.4 does not ask again over a connection.
fn within(mut message: Message, limit: usize) -> Result<Vec<u8>, ProtoError> {
    loop {
        let bytes = message.to_vec()?;
        let (count, length) = (message.answers.len(), bytes.len());
        if length <= limit || count == 0 {
            return Ok(bytes);
        }
        message.metadata.truncation = true;
        message.answers.truncate((count * limit / length).min(count - 1));
    }
}

#[cfg(test)]
mod tests;
