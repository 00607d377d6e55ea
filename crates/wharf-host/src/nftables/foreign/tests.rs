use super::super::wire::{nest, put};
use super::attributes::Attributes;
use super::expression::{self, Compared, Expression, Fall, Register};
use super::{comment, element};

/// An element of a rule: a name and what `fill` writes.
fn read(name: &str, fill: impl FnOnce(&mut Vec<u8>)) -> Expression {
    let mut bytes = Vec::new();
    put(&mut bytes, 1, &[name.as_bytes(), &[0]].concat());
    nest(&mut bytes, 2, fill);
    expression::of(Attributes::new(&bytes))
}

fn number(bytes: &mut Vec<u8>, kind: u16, value: u32) {
    put(bytes, kind, &value.to_be_bytes());
}

#[test]
fn registers_of_both_sizes_are_places_of_bytes() {
    let to = |number_: u32| match read("meta", |data| {
        number(data, 1, number_);
        number(data, 2, 6);
    }) {
        Expression::Meta { to, .. } => Some(to),
        _ => None,
    };
    assert_eq!(to(1), Some(Register::At(0)));
    assert_eq!(to(2), Some(Register::At(16)));
    assert_eq!(to(8), Some(Register::At(0)));
    assert_eq!(to(13), Some(Register::At(20)));
    assert_eq!(to(99), None);
}

#[test]
fn verdicts_name_their_chain() {
    let verdict = |code: i32, chain: Option<&str>| {
        read("immediate", |data| {
            number(data, 1, 0);
            nest(data, 2, |value| {
                nest(value, 2, |verdict| {
                    put(verdict, 1, &code.to_be_bytes());
                    if let Some(chain) = chain {
                        put(verdict, 2, &[chain.as_bytes(), &[0]].concat());
                    }
                });
            });
        })
    };
    assert_eq!(verdict(0, None), Expression::Fall(Fall::Drop));
    assert_eq!(verdict(-3, Some("mine")), Expression::Fall(Fall::Jump("mine".to_owned())));
    assert_eq!(verdict(-3, None), Expression::Other { name: "immediate".to_owned(), to: None });
}

#[test]
fn what_is_not_known_keeps_its_name_and_its_register() {
    let read = read("socket", |data| number(data, 2, 9));
    assert_eq!(read, Expression::Other { name: "socket".to_owned(), to: Some(Register::At(4)) });
}

#[test]
fn comparisons_are_told_apart() {
    let how = |code| match read("cmp", |data| {
        number(data, 1, 8);
        number(data, 2, code);
        nest(data, 3, |value| put(value, 1, &[1]));
    }) {
        Expression::Compare { how, .. } => Some(how),
        _ => None,
    };
    assert_eq!(
        [how(0), how(3), how(6)],
        [Some(Compared::Equal), Some(Compared::LessOrEqual), None]
    );
}

#[test]
fn notes_are_found_among_other_data() {
    assert_eq!(comment(&[7, 1, 9, 0, 3, b'h', b'i', 0]), Some("hi".to_owned()));
    assert_eq!(comment(&[0, 200, b'h']), None);
}

/// What a kernel of the future may send, or one that is not well.
#[test]
fn any_bytes_are_read_without_a_stumble() {
    const NAMES: [&str; 12] = [
        "meta",
        "payload",
        "ct",
        "fib",
        "bitwise",
        "cmp",
        "range",
        "lookup",
        "immediate",
        "match",
        "objref",
        "queue",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..20_000 {
        let length = usize::try_from(random() % 60).unwrap();
        // Small numbers make lengths and types that mean something.
        let bytes: Vec<u8> = (0..length).map(|_| (random() % 24).to_le_bytes()[0]).collect();
        drop(read(NAMES[round % NAMES.len()], |data| data.extend(&bytes)));
        drop(element(Attributes::new(&bytes)));
        drop(comment(&bytes));
    }
}
