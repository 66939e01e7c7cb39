//! A connection with our authorizer on it: the one place of this crate with `unsafe`.
//!
//! Owns: the SQLite connection and the state its callbacks look at. Always true: the state lives at one address
//! for as long as the connection, and the connection is used by one thread at a time.
//! Why not `rusqlite`'s own `authorizer`: it panics on an argument that is not UTF-8, and user code can supply one
//! (`SELECT * FROM pragma_table_info(CAST(x'ff' AS TEXT))`). Where a panic aborts, that statement would end the process.

#![allow(unsafe_code, reason = "registers a C callback; see the module header")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::Deref;

use rusqlite::{Connection, ffi};

use crate::authorizer::{Action, Authorizer};

pub(crate) struct GuardedConnection {
    // Declared first, hence dropped first: afterwards SQLite no longer calls the authorizer.
    connection: Connection,
    authorizer: Box<Authorizer>,
}

impl GuardedConnection {
    pub(crate) fn new(connection: Connection, authorizer: Authorizer) -> Self {
        let authorizer = Box::new(authorizer);
        let state: *const Authorizer = &raw const *authorizer;
        // SAFETY: the handle is open, it belongs to `connection`. `state` points into a box that this struct keeps
        // until after the connection is closed, so SQLite never calls back with a dangling pointer.
        unsafe {
            ffi::sqlite3_set_authorizer(
                connection.handle(),
                Some(authorize),
                state.cast_mut().cast(),
            );
        }
        Self {
            connection,
            authorizer,
        }
    }

    pub(crate) fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }
}

impl Deref for GuardedConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

unsafe extern "C" fn authorize(
    state: *mut c_void,
    code: c_int,
    first: *const c_char,
    second: *const c_char,
    database: *const c_char,
    accessor: *const c_char,
) -> c_int {
    // SAFETY: `state` is what `GuardedConnection::new` registered and is alive while the connection is. Only shared
    // references to it are ever made, and SQLite calls on the one thread that uses the connection.
    let state = unsafe { &*state.cast_const().cast::<Authorizer>() };
    // SAFETY: SQLite passes NULL or NUL-terminated strings that stay valid during the call.
    let texts = unsafe { (text(first), text(second), text(database), text(accessor)) };
    let (Ok(first), Ok(second), Ok(database), Ok(accessor)) = texts else {
        return ffi::SQLITE_DENY;
    };
    if state.allows(&Action {
        code,
        first,
        second,
        database,
        accessor,
    }) {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_DENY
    }
}

/// # Safety
/// `pointer` is NULL or a NUL-terminated string that outlives `'a`.
unsafe fn text<'a>(pointer: *const c_char) -> Result<Option<&'a str>, std::str::Utf8Error> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, hence a NUL-terminated string by this function's contract.
    unsafe { CStr::from_ptr(pointer) }.to_str().map(Some)
}
