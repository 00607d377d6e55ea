//! `name|uid[:group|gid]`, looked up in a container's own `/etc/passwd` and `/etc/group`.

use std::path::Path;

use crate::error::{Context, Error, Result};
use crate::inroot::Root;

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";
/// Far more than any real one; the container can make it as long as it likes.
const FILE_LIMIT: u64 = 4 << 20;
/// Ids above are not accepted by Docker either: some file systems cannot hold them.
const ID_LIMIT: u32 = i32::MAX.unsigned_abs();

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

// === impl User ===

impl User {
    /// Looks `text` up below `root`, by Docker's rules: a name first, then a number, which need
    /// not be listed; supplementary groups only when no group is named.
    pub(crate) fn find(root: &Root, text: &str) -> Result<Self> {
        let read = |path: &str| -> Result<String> {
            let content = root.read_text(Path::new(path), FILE_LIMIT);
            Ok(content.during(|| format!("read the container's /{path}"))?.unwrap_or_default())
        };
        Self::find_in(text, &read(PASSWD)?, &read(GROUP)?)
    }

    /// Adds supplementary groups, by name or number, as after `--group-add`.
    pub(crate) fn join(&mut self, root: &Root, groups: &[String]) -> Result<()> {
        if groups.is_empty() {
            return Ok(());
        }
        let content = root.read_text(Path::new(GROUP), FILE_LIMIT);
        let content = content.during(|| format!("read the container's /{GROUP}"))?;
        self.join_in(&content.unwrap_or_default(), groups)
    }

    fn join_in(&mut self, content: &str, groups: &[String]) -> Result<()> {
        for text in groups {
            let mut listed = content.lines().filter_map(GroupEntry::parse);
            let gid = match listed.find(|g| g.name == text || number(text) == Some(g.gid)) {
                Some(entry) => entry.gid,
                None => id(text, "group", "group")?,
            };
            if !self.groups.contains(&gid) {
                self.groups.push(gid);
            }
        }
        Ok(())
    }

    fn find_in(text: &str, passwd: &str, group: &str) -> Result<Self> {
        let (user, own_group) = text.split_once(':').unwrap_or((text, ""));
        let mut entries = passwd.lines().filter_map(PasswdEntry::parse);
        let entry = match user {
            "" => entries.find(|e| e.uid == 0),
            user => entries.find(|e| e.name == user || number(user) == Some(e.uid)),
        };
        let (uid, mut gid, home) = match (&entry, user) {
            (Some(e), _) => (e.uid, e.gid, e.home),
            (None, "") => (0, 0, "/"),
            (None, user) => (id(user, "user", "passwd")?, 0, "/"),
        };
        let mut groups = Vec::new();
        let listed = || group.lines().filter_map(GroupEntry::parse);
        if !own_group.is_empty() {
            let same = |g: &GroupEntry<'_>| g.name == own_group || number(own_group) == Some(g.gid);
            gid = match listed().find(same) {
                Some(entry) => entry.gid,
                None => id(own_group, "group", "group")?,
            };
        } else if let Some(entry) = &entry {
            groups = listed().filter(|g| g.has(entry.name)).map(|g| g.gid).collect();
        }
        // A process could otherwise give up its own group, and with it what that is denied, by
        // executing a set-group-id program (CVE-2022-36109).
        if !groups.contains(&gid) {
            groups.insert(0, gid);
        }
        let home = if home.is_empty() { "/" } else { home };
        Ok(Self { uid, gid, groups, home: home.to_owned() })
    }
}

// === impl PasswdEntry ===

impl<'a> PasswdEntry<'a> {
    /// `name:password:uid:gid:comment:home:shell`
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    }
}

// === impl GroupEntry ===

impl<'a> GroupEntry<'a> {
    /// `name:password:gid:member,member`
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Self { name, gid, members: fields.next().unwrap_or_default() })
    }

    fn has(&self, user: &str) -> bool {
        self.members.split(',').any(|member| member == user)
    }
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

fn id(text: &str, kind: &str, file: &str) -> Result<u32> {
    match text.parse::<u64>().map(u32::try_from) {
        Ok(Ok(id)) if id <= ID_LIMIT => Ok(id),
        Ok(_) => Err(Error::Spec(format!("uids and gids must be in range 0-{ID_LIMIT}"))),
        Err(_) => Err(Error::Spec(format!(
            "unable to find {kind} {text}: no matching entries in {file} file"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken:x:y\n\
        web:x:33:34:www:/var/www:/bin/sh\n1000:x:7:7::/seven:/bin/sh\n";
    const GROUP: &str = "root:x:0:root\nwheel:x:10:root,web\nwww:x:34:\nssl:x:99:x,web\n";

    fn find(text: &str) -> Result<User> {
        User::find_in(text, PASSWD, GROUP)
    }

    fn ids(text: &str) -> (u32, u32, Vec<u32>) {
        let user = find(text).unwrap();
        (user.uid, user.gid, user.groups)
    }

    #[test]
    fn names_numbers_and_groups_are_found() {
        assert_eq!(ids(""), (0, 0, vec![0, 10]));
        assert_eq!(ids("web"), (33, 34, vec![34, 10, 99]));
        assert_eq!(ids("33"), (33, 34, vec![34, 10, 99]));
        assert_eq!(ids("web:ssl"), (33, 99, vec![99]));
        assert_eq!(ids("web:5"), (33, 5, vec![5]));
        assert_eq!(ids("4321"), (4321, 0, vec![0]));
        assert_eq!(ids("4321:4322"), (4321, 4322, vec![4322]));
        assert_eq!(ids(":ssl"), (0, 99, vec![99]));
        assert_eq!(ids("1000"), (7, 7, vec![7]), "a name that looks like a number wins");
        assert_eq!(find("web").unwrap().home, "/var/www");
        assert_eq!(find("4321").unwrap().home, "/");
    }

    #[test]
    fn groups_are_added_once_by_name_or_number() {
        let mut user = find("web").unwrap();
        let groups = ["www", "99", "4321"].map(str::to_owned);
        user.join_in(GROUP, &groups).unwrap();
        assert_eq!(user.groups, [34, 10, 99, 4321]);
        let error = user.join_in(GROUP, &["nosuch".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "unable to find group nosuch: no matching entries in group file");
    }

    #[test]
    fn unknown_names_have_dockers_text() {
        let error = find("nobody").unwrap_err().to_string();
        assert_eq!(error, "unable to find user nobody: no matching entries in passwd file");
        let error = find("web:x").unwrap_err().to_string();
        assert_eq!(error, "unable to find group x: no matching entries in group file");
        assert!(find("4294967296").unwrap_err().to_string().contains("in range"));
        assert!(find("4294967295").is_err());
    }

    #[test]
    fn without_files_only_numbers_are_known() {
        assert_eq!(User::find_in("", "", "").unwrap().uid, 0);
        assert_eq!(User::find_in("5:6", "", "").unwrap().gid, 6);
        assert!(User::find_in("root", "", "").is_err());
    }
}
