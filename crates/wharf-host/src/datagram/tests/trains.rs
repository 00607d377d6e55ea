use super::*;

/// Receives until `count` datagrams have come, and returns them one by one.
fn collect(socket: impl AsFd, count: usize) -> Vec<Vec<u8>> {
    let mut buffer = vec![0; BUFFER];
    let mut all = Vec::new();
    while all.len() < count {
        let got = answer(&socket, &mut buffer);
        assert!(!got.truncated);
        let train = Train::new(&buffer[..got.length], got.segment);
        all.extend(train.datagrams().map(<[u8]>::to_vec));
    }
    all
}

fn pieces(payload: &[u8], segment: usize) -> Vec<Vec<u8>> {
    payload.chunks(segment).map(<[u8]>::to_vec).collect()
}

#[test]
fn a_train_is_cut_where_its_segments_end() {
    let payload = pattern(70_000);
    for (length, segment, datagrams, parts) in [
        (0, None, 1, 1),
        (0, Some(5), 1, 1),
        (65_507, None, 1, 1),
        (1000, Some(1000), 1, 1),
        (1000, Some(0), 1, 1),
        (1001, Some(1000), 2, 1),
        (6400, Some(100), 64, 1),
        (6401, Some(100), 65, 2),
        (65_535, Some(1400), 47, 2),
        (64_400, Some(1400), 46, 1),
        (65_000, Some(32_500), 2, 1),
        (65_535, Some(40_000), 2, 2),
        (70_000, Some(1), 70_000, 1094),
    ] {
        let train = Train::new(&payload[..length], segment);
        assert_eq!((train.count(), train.parts().count()), (datagrams, parts), "{train:?}");
        assert_eq!(train.datagrams().count(), datagrams);
        assert_eq!(train.datagrams().collect::<Vec<_>>().concat(), payload[..length]);
        let again = train.parts().flat_map(|part| part.datagrams());
        assert!(again.eq(train.datagrams()), "{length} {segment:?}");
        assert_eq!(train.parts().map(|part| part.count()).sum::<usize>(), datagrams);
        assert!(train.parts().all(|part| part.count() <= 64 && part.bytes() <= 65_507));
    }
}

#[test]
fn a_train_goes_as_one_and_arrives_as_one() {
    let Some(pair) = Pair::new(1500) else { return };
    let held = pair.listener(80);
    let listener = &held.sockets[0].socket;
    let mut buffer = vec![0; BUFFER];
    for asked in HOST {
        let flow = pair.flow(at(asked, 80));
        for (length, segment) in [(20 * 1400 + 300, 1400), (45 * 1400, 1400), (64, 1), (2001, 1000)]
        {
            let sent = pattern(length);
            let mut memory = Segmentation::default();
            let train = Train::new(&sent, Some(segment));
            let done = send_train(&flow, train, None, &mut memory);
            assert_eq!((done.datagrams, done.bytes), (train.count(), length), "{done:?}");
            assert!(memory.is_unlimited() && done.refused == 0 && done.error.is_none());
            let got = arrival(listener, &mut buffer);
            assert_eq!((got.length, got.segment), (length, Some(segment)));
            assert!(buffer[..length] == sent[..]);
            let path = Path { to: got.from, from: got.to, dual: true };
            let done = send_train(listener, train, Some(&path), &mut memory);
            assert_eq!((done.datagrams, memory.is_unlimited()), (train.count(), true));
            let got = answer(&flow, &mut buffer);
            assert_eq!((got.length, got.segment), (length, Some(segment)));
        }
    }
}

#[test]
fn a_receiver_that_knows_no_trains_gets_datagrams() {
    let Some(pair) = Pair::new(1500) else { return };
    let plain = pair.host.run(|| UdpSocket::bind("10.9.0.2:80").unwrap()).unwrap();
    let flow = pair.flow(at(HOST[0], 80));
    let sent = pattern(30 * 1400 + 7);
    send_train(&flow, Train::new(&sent, Some(1400)), None, &mut Segmentation::default());
    assert_eq!(collect(&plain, 31), pieces(&sent, 1400));
}

#[test]
fn more_than_one_send_takes_is_split() {
    let Some(pair) = Pair::new(1500) else { return };
    let held = pair.listener(80);
    for (asked, segment) in [(HOST[0], 100), (HOST[1], 100), (HOST[0], 1399), (HOST[1], 1399)] {
        let flow = pair.flow(at(asked, 80));
        let sent = pattern(if segment == 100 { 15_050 } else { 70_000 });
        let train = Train::new(&sent, Some(segment));
        let mut memory = Segmentation::default();
        let done = send_train(&flow, train, None, &mut memory);
        assert_eq!((done.datagrams, memory.is_unlimited()), (train.count(), true), "{done:?}");
        let got = collect(&held.sockets[0].socket, train.count());
        assert_eq!(got, pieces(&sent, usize::from(segment)));
    }
}

#[test]
fn segments_larger_than_the_mtu_go_one_by_one_and_that_is_remembered() {
    let Some(pair) = Pair::new(1300) else { return };
    let held = pair.listener(80);
    let listener = &held.sockets[0].socket;
    let mut buffer = vec![0; BUFFER];
    for asked in HOST {
        let flow = pair.flow(at(asked, 80));
        let sent = pattern(10 * 1400 + 7);
        let train = Train::new(&sent, Some(1400));
        let mut memory = Segmentation::default();
        for _ in 0..2 {
            let done = send_train(&flow, train, None, &mut memory);
            assert_eq!((done.datagrams, done.refused), (11, 0), "{done:?}");
            assert!(done.error.is_none() && !memory.is_unlimited());
            assert_eq!(collect(listener, 11), pieces(&sent, 1400));
        }
        // Shorter segments still go as a train.
        send_train(&flow, Train::new(&sent[..5000], Some(1000)), None, &mut memory);
        let got = arrival(listener, &mut buffer);
        assert_eq!((got.length, got.segment), (5000, Some(1000)));
        let path = Path { to: got.from, from: got.to, dual: true };
        let mut back = Segmentation::default();
        assert_eq!(send_train(listener, train, Some(&path), &mut back).datagrams, 11);
        assert!(!back.is_unlimited());
        assert_eq!(collect(&flow, 11), pieces(&sent, 1400));
    }
}

#[test]
fn datagrams_of_a_train_may_be_of_any_size() {
    let Some(pair) = Pair::new(1500) else { return };
    let held = pair.listener(80);
    for (asked, segment) in [(HOST[0], 9000), (HOST[1], 9000), (HOST[0], 40_000), (HOST[1], 40_000)]
    {
        let flow = pair.flow(at(asked, 80));
        let sent = pattern(65_530);
        let train = Train::new(&sent, Some(segment));
        let done = send_train(&flow, train, None, &mut Segmentation::default());
        assert_eq!(done.datagrams, train.count(), "{done:?}");
        let got = collect(&held.sockets[0].socket, train.count());
        assert_eq!(got, pieces(&sent, usize::from(segment)));
    }
}

#[test]
fn icmp_errors_of_earlier_datagrams_do_not_stop_a_train() {
    let Some(pair) = Pair::new(1500) else { return };
    for asked in HOST {
        let flow = pair.flow(at(asked, 80));
        let mut memory = Segmentation::default();
        let sent = pattern(3 * 1200);
        let train = Train::new(&sent, Some(1200));
        // Nobody is there: the answer is an ICMP error that waits on the socket.
        assert_eq!(send_train(&flow, train, None, &mut memory).datagrams, 3);
        assert!(readable(&flow));
        let held = pair.listener(80);
        let done = send_train(&flow, train, None, &mut memory);
        assert_eq!((done.datagrams, done.refused), (3, 1), "{done:?}");
        assert!(done.error.is_none() && memory.is_unlimited());
        assert_eq!(collect(&held.sockets[0].socket, 3), pieces(&sent, 1200));
        assert_eq!(
            receive_connected(&flow, &mut [0; 9]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    }
}

#[test]
fn what_cannot_be_sent_at_all_teaches_nothing_about_segments() {
    let Some(pair) = Pair::new(1500) else { return };
    let held = pair.listener(80);
    let from = Some(Local { address: "192.0.2.1".parse().unwrap(), interface: 0 });
    let path = Path { to: at(CLIENT[0], 9), from, dual: true };
    let mut memory = Segmentation::default();
    let sent = pattern(3000);
    let train = Train::new(&sent, Some(1000));
    let done = send_train(&held.sockets[0].socket, train, Some(&path), &mut memory);
    assert_eq!((done.datagrams, done.bytes, memory.is_unlimited()), (0, 0, true));
    assert!(done.error.is_some());
    // Larger than any datagram of IPv4.
    let flow = pair.flow(at(HOST[0], 80));
    let done = send_train(&flow, Train::new(&pattern(65_508), None), None, &mut memory);
    assert_eq!(done.error.unwrap().raw_os_error(), Some(libc::EMSGSIZE));
}
