use super::*;

/// What a relay does with what arrives: the trains it sends, as sender and datagrams.
fn trains(arrivals: &[(u8, Vec<u8>, Option<u16>)]) -> Vec<(u8, Vec<Vec<u8>>)> {
    let mut coalescer = Coalescer::new();
    let mut all = Vec::new();
    let mut note = |(key, train): (u8, Train<'_>)| {
        let datagrams: Vec<_> = train.datagrams().map(<[u8]>::to_vec).collect();
        assert_eq!(datagrams.len(), train.count());
        all.push((key, datagrams));
    };
    for (key, payload, segment) in arrivals {
        let length = payload.len();
        let room = coalescer.room();
        assert_eq!(room.len(), BUFFER);
        room[..length].copy_from_slice(payload);
        let received = Received { length, truncated: false, segment: *segment };
        coalescer.push(*key, received).map(&mut note);
    }
    coalescer.take().map(&mut note);
    assert!(coalescer.take().is_none());
    all
}

fn shape(trains: &[(u8, Vec<Vec<u8>>)]) -> Vec<(u8, Vec<usize>)> {
    trains.iter().map(|(key, all)| (*key, all.iter().map(Vec::len).collect())).collect()
}

#[test]
fn equal_datagrams_of_one_sender_become_one_and_a_shorter_one_ends_it() {
    let plain = |key: u8, length: usize| (key, pattern(length), None);
    let sent = trains(&[
        plain(1, 100),
        plain(1, 100),
        plain(1, 99),
        plain(1, 100),
        plain(2, 100),
        plain(2, 101),
        plain(2, 0),
        plain(2, 0),
        plain(2, 7),
        (2, pattern(20), Some(7)),
        plain(2, 6),
    ]);
    let expected = vec![
        (1, vec![100, 100, 99]),
        (1, vec![100]),
        (2, vec![100]),
        (2, vec![101]),
        (2, vec![0]),
        (2, vec![0]),
        (2, vec![7, 7, 7, 6]),
        (2, vec![6]),
    ];
    assert_eq!(shape(&sent), expected);
}

#[test]
fn a_train_is_never_more_than_one_send_takes() {
    for (length, most) in [(1, 64), (1400, 46), (30_000, 2), (65_507, 1), (65_527, 1)] {
        let arrivals = vec![(1, pattern(length), None); 130];
        let sent = trains(&arrivals);
        assert!(sent.iter().all(|(_, all)| all.len() <= most));
        assert_eq!(sent[0].1.len(), most, "{length}");
    }
}

/// A generator of numbers that look random (xorshift).
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 33).unwrap()
}

#[test]
fn whatever_comes_leaves_in_order_with_its_boundaries() {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let lengths = [0, 1, 100, 100, 100, 1400, 1400, 1400, 9000, 65_507, 65_527];
    for _ in 0..10 {
        let mut arrivals = Vec::new();
        for _ in 0..60 {
            let key = u8::try_from(next(&mut state) % 8 / 6).unwrap();
            let length = lengths[next(&mut state) % lengths.len()];
            let mut payload = pattern(length);
            payload.iter_mut().for_each(|byte| *byte ^= u8::try_from(state % 256).unwrap());
            let segment = [None, None, Some(100), Some(1400)][next(&mut state) % 4];
            arrivals.push((key, payload, segment.filter(|s| usize::from(*s) < length)));
        }
        let expected = arrivals.iter().flat_map(|(key, payload, segment)| {
            Train::new(payload, *segment)
                .datagrams()
                .map(|d| (*key, d.to_vec()))
                .collect::<Vec<_>>()
        });
        let sent = trains(&arrivals);
        let sent = sent.iter().flat_map(|(key, all)| all.iter().map(|d| (*key, d.clone())));
        assert!(sent.eq(expected));
    }
}
