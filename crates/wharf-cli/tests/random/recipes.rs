//! What random operations have found, in as few of them as it takes.

use wharf_spec::PortSpec;

use super::fault::Fault;
use super::model::{NETWORKS, Which};
use super::operation::Operation;
use super::play::recite;

fn specs(texts: &[&str]) -> Vec<PortSpec> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn run(name: &str, texts: &[&str]) -> Operation {
    Operation::Run { name: name.to_owned(), network: &NETWORKS[0], specs: specs(texts) }
}

fn publish(name: &str, texts: &[&str]) -> Operation {
    Operation::Publish { name: name.to_owned(), specs: specs(texts), replace: None }
}

fn replace(name: &str, texts: &[&str], other: &str) -> Operation {
    let replace = Some(other.to_owned());
    Operation::Publish { name: name.to_owned(), specs: specs(texts), replace }
}

fn stop(name: &str) -> Operation {
    Operation::Stop { name: name.to_owned() }
}

fn restart(name: &str) -> Operation {
    Operation::Restart { name: name.to_owned() }
}

/// What rests is not served, so there is nothing to hand over without a gap.
#[test]
fn what_rests_is_not_replaced() {
    recite([
        run("n0", &[]),
        run("n1", &[]),
        publish("n0", &["8001:80/tcp"]),
        stop("n0"),
        replace("n1", &["8001:80/tcp"], "n0"),
        publish("n1", &["8001:80/tcp"]),
    ]);
}

/// Identities are random, so who comes first in the ledger is, too: six times.
#[test]
fn what_rests_is_in_nobodys_way() {
    let places: Vec<String> = (1..7).map(|last| format!("800{last}:80/tcp")).collect();
    let each = |name: &'static str, rest: &'static str| {
        places.iter().map(move |place| publish(name, &[&format!("{place}{rest}")]))
    };
    let before = [run("n0", &[]), run("n1", &[])].into_iter().chain(each("n0", ""));
    let after = each("n1", "").chain(each("n1", ",via=relay"));
    let then = [Operation::Start { name: "n0".to_owned() }];
    recite(before.chain([stop("n0")]).chain(after).chain(then));
}

#[test]
fn one_place_cannot_be_changed_to_two_things_at_once() {
    recite([
        run("n0", &[]),
        publish("n0", &["8001:80/tcp"]),
        publish("n0", &["8001:80/tcp", "8001:81/tcp"]),
        publish("n0", &["8001:82/tcp", "8001:81/tcp"]),
    ]);
}

#[test]
fn the_same_spec_at_the_start_and_later_is_two_publications_and_stays_two() {
    recite([
        run("n0", &["80/tcp"]),
        publish("n0", &["80/tcp"]),
        restart("n0"),
        restart("n0"),
        restart("n0"),
    ]);
}

#[test]
fn one_of_two_publications_of_the_same_spec_is_taken_down() {
    recite([
        run("n0", &["80/tcp", "80/tcp"]),
        Operation::Unpublish { name: "n0".to_owned(), which: Which::Known(0), drain: None },
        restart("n0"),
    ]);
}

#[test]
fn what_others_put_into_our_table_while_nobody_looked_goes() {
    let strange = Fault::Nft("add chain inet wharf strange");
    recite([run("n0", &["8001:80/tcp"]), Operation::Fault(Fault::Daemon(vec![strange]))]);
}
