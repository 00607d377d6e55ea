//! Rule sets larger than any a person wrote.

use std::fmt::Write;
use std::time::{Duration, Instant};

use wharf_nft::foreign;

use crate::scene::Scene;

/// Reading and judging must not hold up a plan; on a busy machine either takes a part of this.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_list_too_long_to_be_read_is_left_to_the_kernel() {
    let Some(scene) = Scene::build("long list") else { return };
    let mut list = String::new();
    for n in 0..30_000u32 {
        write!(list, "172.{}.{}.0/25,", 16 + n / 256 % 16 + n / 4096 * 16, n % 256).unwrap();
    }
    scene.nft(&format!(
        "table ip lists {{
            set blocked {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {list} }}; }}
            chain forward {{ type filter hook forward priority 0; ip saddr @blocked drop; }}
         }}"
    ));
    scene.check().all_open();
}

#[test]
fn a_thousand_rules_are_read_and_judged_at_once() {
    let Some(scene) = Scene::build("many rules") else { return };
    let mut rules = String::new();
    for n in 0..1000u32 {
        writeln!(rules, "ip saddr 198.18.{}.{} tcp dport {} drop", n / 256, n % 256, n + 1)
            .unwrap();
    }
    scene.nft(&format!(
        "table inet many {{ chain forward {{ type filter hook forward priority 0
            {rules} tcp dport 80 drop; }} }}"
    ));
    let began = Instant::now();
    let read = scene.read();
    println!("read {} rules in {:?}", 1001, began.elapsed());
    assert_eq!(read.ruleset.tables[0].chains["forward"].rules.len(), 1001);
    assert!(began.elapsed() < PATIENCE);
    assert!(scene.check().forward.iter().all(Option::is_some));
}

#[test]
fn more_rules_than_are_read_are_named() {
    let Some(scene) = Scene::build("too many") else { return };
    let rules = "counter\n".repeat(20_001);
    scene.nft(&format!(
        "table inet many {{ chain forward {{ type filter hook forward priority 0\n{rules} }}\n }}"
    ));
    let began = Instant::now();
    let read = scene.host.run(|| foreign::read("wharf")).unwrap();
    println!("gave up after {:?}", began.elapsed());
    assert!(began.elapsed() < PATIENCE);
    let [line] = read.unread.as_slice() else { panic!("{:?}", read.unread) };
    assert!(line.contains("more than 20000 of them"), "{line}");
}
