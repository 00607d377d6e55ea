//! Databases keep what they were given: over a restart, a new container, and a killed daemon.

use super::shelf::Shelf;

#[test]
fn redis_keeps_its_data_in_a_volume() {
    let Some(shelf) = Shelf::new("redis") else { return };
    let flags = ["-p", "6379:6379", "-v", "kept:/data", "-w", "/data", "-u", "root"];
    let command =
        ["redis-server", "--appendonly", "yes", "--bind", "0.0.0.0", "--protected-mode", "no"];
    shelf.run("cache", &flags, &command);
    assert_eq!(shelf.eventually("cache", &[], "redis-cli SET key value"), "OK");
    shelf.wharf.ok(["restart", "cache"]);
    assert_eq!(shelf.eventually("cache", &[], "redis-cli GET key"), "value");
    // Another container finds what the first has left; it speaks over the published port.
    shelf.wharf.ok(["rm", "-f", "cache"]);
    shelf.run("cache", &flags, &command);
    assert_eq!(shelf.eventually("cache", &[], "redis-cli GET key"), "value");
    let answer = shelf.wharf.host().tcp_ask("127.0.0.1:6379", b"GET key\r\n").unwrap();
    assert_eq!(answer, b"$5\r\nvalue\r\n");
}

const SERVER: &str = "set -e; export PATH=$PATH:/usr/lib/postgresql/15/bin; \
    if ! [ -e $PGDATA/PG_VERSION ]; then initdb -D $PGDATA -A trust >/dev/null; fi; \
    exec postgres -D $PGDATA -c listen_addresses='*' -c unix_socket_directories=/tmp";
const ASK: &str = "psql -h /tmp -U postgres -Atc";

#[test]
fn postgres_keeps_its_data_in_a_named_volume() {
    let Some(shelf) = Shelf::new("postgres") else { return };
    // A new volume gets the owner of the directory it is put over.
    let prepare = "mkdir -p /var/lib/data && chown postgres:postgres /var/lib/data";
    shelf.once(&["-v", "pg:/var/lib/data"], &["sh", "-c", prepare]);
    let flags = [
        "-u",
        "postgres",
        "-e",
        "PGDATA=/var/lib/data/pg",
        "-v",
        "pg:/var/lib/data",
        "-p",
        "5432:5432",
        "--stop-signal",
        "INT",
        "--stop-timeout",
        "60",
    ];
    shelf.run("db", &flags, &["sh", "-c", SERVER]);
    let ask = |sql: &str| shelf.eventually("db", &[], &format!("{ASK} \"{sql}\""));
    ask("CREATE TABLE IF NOT EXISTS t (n int)");
    ask("INSERT INTO t SELECT generate_series(1, 1000)");
    assert_eq!(ask("SELECT sum(n) FROM t"), "500500");
    shelf.wharf.ok(["restart", "db"]);
    assert_eq!(ask("SELECT sum(n) FROM t"), "500500");
    assert_eq!(shelf.wharf.kill9("daemon").unwrap(), 1);
    assert_eq!(ask("SELECT count(*) FROM t"), "1000");
    shelf.wharf.ok(["stop", "db"]);
    assert_eq!(shelf.wharf.inspect("db")["State"]["ExitCode"], 0, "it had time to end well");
    shelf.wharf.ok(["rm", "db"]);
    shelf.run("db", &flags, &["sh", "-c", SERVER]);
    assert_eq!(ask("SELECT sum(n) FROM t"), "500500");
}
