//! The embedded store: one SQLite file that all processes of a machine share.
//!
//! Open it after forking, and hand none of its descriptors to children: SQLite's locks belong to
//! the process that took them.

mod alive;
mod amend;
mod bell;
mod checkpoint;
mod claim;
mod clock;
mod control;
mod ended;
mod examine;
mod files;
mod flow;
mod fold;
mod gate;
mod journal;
mod ledger;
mod limit;
mod lock;
mod overdue;
mod presence;
mod read;
mod schedule;
mod schema;
mod settle;
mod store;
mod stream;
mod submit;
mod transit;
mod trouble;
mod unique;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};

use crate::backend::{Backend, Durability, Options};
use crate::broker::{BrokerError, Selection};
use alive::Alive;
use bell::Ringer;
pub use clock::{Clock, SystemClock};
use files::Files;
use fold::{Folder, Pages};
use gate::Gate;
use ledger::Ledger;
use read::Readers;
use store::{Kind, Store};
use trouble::translate;
use writer::{Desk, Writer};

/// Within one process stores are opened one after the other: closing a file that was just made
/// would drop the locks that another thread has on it.
static OPENING: Mutex<()> = Mutex::new(());

/// Opens the store at `path`, or a private one in memory for `:memory:`.
///
/// # Errors
/// [`BrokerError::Refused`] with a way out if the place is not safe or not ours.
pub fn open(path: &str, options: &Options) -> Result<Backend, BrokerError> {
    open_with_clock(path, options, Arc::new(SystemClock::new()))
}

/// [`open`] with other clocks than the machine's, for tests.
///
/// # Errors
/// As [`open`].
pub fn open_with_clock(
    path: &str,
    options: &Options,
    clock: Arc<dyn Clock>,
) -> Result<Backend, BrokerError> {
    let _one_by_one = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    let store = if path == ":memory:" {
        in_memory(options, clock)?
    } else {
        in_file(path, options, clock)?
    };
    let store = Arc::new(store);
    Ok(Backend {
        broker: Arc::clone(&store) as _,
        catalog: Arc::clone(&store) as _,
        control: Arc::clone(&store) as _,
        transit: Arc::clone(&store) as _,
        schedules: Arc::clone(&store) as _,
        namespace: options.namespace.clone(),
        locks: Arc::clone(&store) as _,
        journals: Arc::clone(&store) as _,
        checkpoints: Arc::clone(&store) as _,
        streams: store,
    })
}

fn in_memory(options: &Options, clock: Arc<dyn Clock>) -> Result<Store, BrokerError> {
    let place: Arc<str> = ":memory:".into();
    let sql = |error: rusqlite::Error| translate(&error, ":memory:");
    let mut conn = Connection::open_in_memory().map_err(sql)?;
    schema::configure(&conn, "OFF").map_err(sql)?;
    schema::bring_forward(&mut conn, &place)?;
    let listeners = Arc::new(Mutex::new(Vec::new()));
    let desk = Desk {
        ledger: ledger(conn, options, &clock, Alive::new(None)),
        gate: None,
        ringer: Ringer::Memory(Arc::clone(&listeners)),
        opened: None,
        folder: None,
        place: Arc::clone(&place),
    };
    assemble(desk, options, clock, Kind::Memory(listeners), place)
}

fn in_file(path: &str, options: &Options, clock: Arc<dyn Clock>) -> Result<Store, BrokerError> {
    let files = Files::new(path, options)?;
    let place: Arc<str> = files.db.to_string_lossy().into();
    files.prepare(options.missing)?;
    leave_foreign_files_alone(&files, &place)?;
    let mut gate = Gate::new(files.open_beside(".gate")?);
    let bell = files.open_beside(".bell")?;
    let start = files.open_beside(".start")?;
    let before = files.identity()?;
    let is_held = gate.enter();
    let opened = connect(&files, options, &place);
    if is_held {
        gate.leave();
    }
    let mut conn = opened?;
    files.still(before)?;
    let pages = Pages::default();
    pages.count(&mut conn).map_err(|e| translate(&e, &place))?;
    let desk = Desk {
        ledger: ledger(conn, options, &clock, Alive::new(Some(start))),
        gate: Some(gate),
        ringer: Ringer::File(Arc::new(bell)),
        opened: Some((files.clone(), before)),
        folder: Some(Folder::new(files.clone(), before, pages)),
        place: Arc::clone(&place),
    };
    let kind = Kind::File {
        readers: Readers::new(files.db.clone()),
        files,
        opened: before,
    };
    assemble(desk, options, clock, kind, place)
}

fn assemble(
    desk: Desk,
    options: &Options,
    clock: Arc<dyn Clock>,
    kind: Kind,
    place: Arc<str>,
) -> Result<Store, BrokerError> {
    let nothing = Selection {
        queues: Vec::new(),
        tasks: Vec::new(),
    };
    Ok(Store {
        writer: Writer::start(desk)?,
        namespace: options.namespace.clone(),
        durability: options.durability,
        clock,
        kind,
        place,
        selection: Mutex::new(Arc::new(nothing)),
    })
}

fn ledger(conn: Connection, options: &Options, clock: &Arc<dyn Clock>, alive: Alive) -> Ledger {
    Ledger::new(conn, options.namespace.clone(), Arc::clone(clock), alive)
}

/// Looks into the file without a lock, a log or any other trace.
fn leave_foreign_files_alone(files: &Files, place: &str) -> Result<(), BrokerError> {
    let mut uri = String::from("file:");
    for byte in files.db.as_os_str().as_encoded_bytes() {
        uri.push_str(&format!("%{byte:02X}"));
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    // What cannot be opened, or is found half written without a lock, is looked at again later.
    let Ok(conn) = Connection::open_with_flags(uri, flags) else {
        return Ok(());
    };
    match schema::check(&conn, place) {
        Err(refused @ BrokerError::Refused { .. }) => Err(refused),
        _ => Ok(()),
    }
}

fn connect(files: &Files, options: &Options, place: &str) -> Result<Connection, BrokerError> {
    let sql = |error: rusqlite::Error| translate(&error, place);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let synchronous = match options.durability {
        Durability::Normal => "NORMAL",
        Durability::Full => "FULL",
    };
    let mut conn = Connection::open_with_flags(&files.db, flags).map_err(sql)?;
    schema::configure(&conn, synchronous).map_err(sql)?;
    schema::check(&conn, place)?;
    schema::write_ahead(&conn).map_err(sql)?;
    schema::bring_forward(&mut conn, place)?;
    Ok(conn)
}
