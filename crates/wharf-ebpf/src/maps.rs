//! The maps, opened where they are pinned.

use std::path::Path;

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, SockMap};

use crate::accounts::Accounts;
use crate::book::{Book, Entries};
use crate::error::{Error, Result};
use crate::layout::{
    ALLOWED_LIMIT, BoundBytes, FLOORS_LIMIT, LOCAL_LIMIT, PUBLISHED_LIMIT, RewrittenBytes,
    STEERED_LIMIT, SpotBytes, TARGETS_LIMIT,
};
use crate::mirror::Mirror;

/// The maps by their names in `bpf/maps.h`.
pub(crate) const NAMES: [&str; 13] = [
    "published",
    "targets",
    "allowed",
    "accounts",
    "sockets",
    "answers",
    "local",
    "steered",
    "floors",
    "floor_sockets",
    "busy",
    "bound",
    "overflow",
];

type Prefixes = LpmTrie<MapData, [u8; 20], u32>;

/// Everything that is read or written from outside the kernel.
#[derive(Debug)]
pub(crate) struct Maps {
    pub(crate) book: Book,
    pub(crate) local: Mirror<[u8; 16], u32>,
    pub(crate) sockets: HashMap<MapData, u64, RewrittenBytes>,
    pub(crate) busy: HashMap<MapData, SpotBytes, u32>,
    pub(crate) bound: HashMap<MapData, u64, BoundBytes>,
    pub(crate) floor_sockets: FloorSockets,
    pub(crate) overflow: Overflows,
}

/// The sockets of floors.
pub(crate) struct FloorSockets(pub(crate) SockMap<MapData>);

/// What did not fit.
pub(crate) struct Overflows(pub(crate) Array<MapData, u64>);

/// Whether all of them are pinned in `directory`.
pub(crate) fn are_pinned(directory: &Path) -> bool {
    NAMES.iter().all(|name| directory.join(name).exists())
}

fn open<T: TryFrom<Map, Error = MapError>>(directory: &Path, name: &'static str) -> Result<T> {
    let data = MapData::from_pin(directory.join(name)).and_then(Map::from_map_data);
    let opened = data.and_then(T::try_from);
    opened.map_err(|error| Error::Map { action: "open", map: name, source: error.into() })
}

// === impl Maps ===

impl Maps {
    /// Opens the maps pinned in `directory`; what they hold is not looked at yet.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let local: HashMap<_, [u8; 16], u32> = open(directory, "local")?;
        Ok(Self {
            book: open_book(directory)?,
            local: Mirror::new("local", LOCAL_LIMIT, local),
            sockets: open(directory, "sockets")?,
            busy: open(directory, "busy")?,
            bound: open(directory, "bound")?,
            floor_sockets: FloorSockets(open(directory, "floor_sockets")?),
            overflow: Overflows(open(directory, "overflow")?),
        })
    }
}

fn open_book(directory: &Path) -> Result<Book> {
    let published: Prefixes = open(directory, "published")?;
    let targets: HashMap<_, u32, [u8; 32]> = open(directory, "targets")?;
    let allowed: Prefixes = open(directory, "allowed")?;
    let steered: Prefixes = open(directory, "steered")?;
    let floors: HashMap<_, u32, [u8; 68]> = open(directory, "floors")?;
    Ok(Book {
        published: Mirror::new("published", PUBLISHED_LIMIT, published),
        targets: Mirror::new("targets", TARGETS_LIMIT, targets),
        allowed: Mirror::new("allowed", ALLOWED_LIMIT, allowed),
        steered: Mirror::new("steered", STEERED_LIMIT, steered),
        floors: Mirror::new("floors", FLOORS_LIMIT, floors),
        accounts: Accounts::new(open(directory, "accounts")?),
        entries: Entries::default(),
    })
}

// === impl FloorSockets ===

impl std::fmt::Debug for FloorSockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FloorSockets").finish_non_exhaustive()
    }
}

// === impl Overflows ===

impl std::fmt::Debug for Overflows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overflows").finish_non_exhaustive()
    }
}
