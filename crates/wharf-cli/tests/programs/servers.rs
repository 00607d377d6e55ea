//! Servers of pages.

use super::shelf::Shelf;

const CONFIGURATION: &str = "events {} http { server { listen 80; listen [::]:80; root /site; } }";

#[test]
fn nginx_serves_a_site_of_the_hosts_and_comes_back() {
    let Some(shelf) = Shelf::new("nginx") else { return };
    let site = shelf.lab.directory().join("site");
    std::fs::create_dir(&site).unwrap();
    std::fs::write(site.join("index.html"), "first\n").unwrap();
    std::fs::write(site.join("nginx.conf"), CONFIGURATION).unwrap();
    let bind = format!("{}:/site:ro", site.display());
    let flags = ["-p", "8080:80", "-v", &bind, "--restart", "always"];
    let start = "mkdir -p /var/log/nginx && exec nginx -c /site/nginx.conf -g 'daemon off;'";
    let command = ["sh", "-c", start];
    shelf.run("web", &flags, &command);
    assert_eq!(shelf.page("127.0.0.1:8080", "/"), "first\n");
    std::fs::write(site.join("index.html"), "second\n").unwrap();
    assert_eq!(shelf.page("[::1]:8080", "/"), "second\n");
    shelf.wharf.ok(["restart", "web"]);
    assert_eq!(shelf.page("127.0.0.1:8080", "/"), "second\n");
    // A reload is a signal, as administrators send it.
    shelf.wharf.ok(["kill", "-s", "HUP", "web"]);
    assert_eq!(shelf.page("127.0.0.1:8080", "/"), "second\n");
    shelf.wharf.ok(["stop", "web"]);
    let state = &shelf.wharf.inspect("web")["State"];
    assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &0.into()));
}

#[test]
fn python_serves_a_directory() {
    let Some(shelf) = Shelf::new("python") else { return };
    let flags = ["-p", "8080:8000", "-w", "/usr/share/base-passwd", "-u", "www-data"];
    shelf.run("web", &flags, &["python3", "-m", "http.server", "8000"]);
    assert!(shelf.page("127.0.0.1:8080", "/passwd.master").starts_with("root:"));
    assert_eq!(shelf.eventually("web", &[], "id -un"), "www-data");
}
