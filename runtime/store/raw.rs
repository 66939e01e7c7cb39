//! A connection with our authorizer and our SQL functions on it: the one place of this crate with `unsafe`.
//!
//! Owns: the SQLite connection and the state its callbacks look at. Always true: the state lives at one address
//! for as long as the connection, and the connection is used by one thread at a time.
//! Why not `rusqlite`'s own `authorizer`: it panics on an argument that is not UTF-8, and user code can supply one
//! (`SELECT * FROM pragma_table_info(CAST(x'ff' AS TEXT))`). Where a panic aborts, that statement would end the process.

#![allow(unsafe_code, reason = "registers a C callback; see the module header")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::Deref;

use rusqlite::{Connection, ffi};

use crate::Interrupt;
use crate::authorizer::{Action, Authorizer};
use crate::functions::{Answer, Argument, FUNCTIONS, Function, Work};

pub(crate) struct GuardedConnection {
    // Declared first, hence dropped first: afterwards SQLite no longer calls the authorizer or a function.
    connection: Connection,
    authorizer: Box<Authorizer>,
    #[expect(dead_code, reason = "SQLite points into it")]
    functions: Box<[Registered]>,
}

struct Registered {
    function: Function,
    interrupt: Option<Interrupt>,
}

impl GuardedConnection {
    pub(crate) fn new(
        connection: Connection,
        authorizer: Authorizer,
        interrupt: Option<&Interrupt>,
    ) -> Self {
        let functions: Box<[Registered]> = FUNCTIONS
            .iter()
            .map(|(_, _, function)| Registered {
                function: *function,
                interrupt: interrupt.cloned(),
            })
            .collect();
        for ((name, arguments, _), state) in FUNCTIONS.iter().zip(&functions) {
            let state: *const Registered = state;
            // SAFETY: the handle is open, `name` is a C string. `state` points into a box that this struct keeps until
            // after the connection is closed. Fails only without memory; then SQLite's own function stays.
            unsafe {
                ffi::sqlite3_create_function_v2(
                    connection.handle(),
                    name.as_ptr(),
                    *arguments,
                    ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS,
                    state.cast_mut().cast(),
                    Some(call),
                    None,
                    None,
                    None,
                );
            }
        }
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
            functions,
        }
    }

    /// How many bytes of `sql` its first statement has. Compiles it once more, and nothing that follows: to compile a
    /// pragma is to carry it out.
    pub(crate) fn statement_bytes(&self, sql: &str) -> usize {
        let Ok(length) = c_int::try_from(sql.len()) else {
            return sql.len();
        };
        let mut statement = std::ptr::null_mut();
        let mut tail = std::ptr::null();
        // SAFETY: the handle is open; `length` bytes are readable; the statement, or NULL, is finalised at once. SQLite
        // sets `tail` to an address within the text, or leaves it when it fails.
        unsafe {
            ffi::sqlite3_prepare_v2(
                self.connection.handle(),
                sql.as_ptr().cast(),
                length,
                &raw mut statement,
                &raw mut tail,
            );
            ffi::sqlite3_finalize(statement);
        }
        if tail.is_null() {
            return sql.len();
        }
        (tail as usize)
            .saturating_sub(sql.as_ptr() as usize)
            .min(sql.len())
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

unsafe extern "C" fn call(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: the user data is what `GuardedConnection::new` registered, alive while the connection is, and only read.
    let state = unsafe {
        &*ffi::sqlite3_user_data(context)
            .cast_const()
            .cast::<Registered>()
    };
    let mut arguments = [Argument::default(); 3];
    for (at, argument) in arguments.iter_mut().enumerate() {
        if c_int::try_from(at).is_ok_and(|at| at < count) {
            // SAFETY: `values` has `count` entries; each stays valid during the call.
            *argument = unsafe { argument_of(*values.add(at)) };
        }
    }
    // SAFETY: the context belongs to an open connection; -1 only asks for the limit.
    let bytes_max = unsafe {
        ffi::sqlite3_limit(
            ffi::sqlite3_context_db_handle(context),
            ffi::SQLITE_LIMIT_LENGTH,
            -1,
        )
    };
    let mut work = Work::new(
        state.interrupt.as_ref(),
        usize::try_from(bytes_max).unwrap_or(0),
    );
    let answer = (state.function)(&arguments, &mut work);
    let result = |bytes: &[u8]| (bytes.as_ptr(), bytes.len() as u64);
    // SAFETY: the context is the one of this call; SQLITE_TRANSIENT makes SQLite copy the bytes before it returns.
    unsafe {
        match answer {
            Ok(Answer::Null) => ffi::sqlite3_result_null(context),
            Ok(Answer::Integer(number)) => ffi::sqlite3_result_int64(context, number),
            Ok(Answer::Text(bytes)) => {
                let (start, length) = result(&bytes);
                ffi::sqlite3_result_text64(
                    context,
                    start.cast(),
                    length,
                    ffi::SQLITE_TRANSIENT(),
                    ffi::SQLITE_UTF8 as u8,
                );
            }
            Ok(Answer::Blob(bytes)) => {
                let (start, length) = result(&bytes);
                ffi::sqlite3_result_blob64(context, start.cast(), length, ffi::SQLITE_TRANSIENT());
            }
            Ok(Answer::TooBig) => ffi::sqlite3_result_error_toobig(context),
            Err(_) => ffi::sqlite3_result_error_code(context, ffi::SQLITE_INTERRUPT),
        }
    }
}

/// # Safety
/// `value` is an argument of the running function, which outlives `'a`.
unsafe fn argument_of<'a>(value: *mut ffi::sqlite3_value) -> Argument<'a> {
    // SAFETY: by this function's contract. The pointer to the bytes stays valid because nothing converts the value
    // again; the length is asked for after the conversion, as SQLite wants it.
    unsafe {
        let kind = ffi::sqlite3_value_type(value);
        let start = match kind {
            ffi::SQLITE_NULL => return Argument::default(),
            ffi::SQLITE_BLOB => ffi::sqlite3_value_blob(value).cast::<u8>(),
            _ => ffi::sqlite3_value_text(value),
        };
        let length = usize::try_from(ffi::sqlite3_value_bytes(value)).unwrap_or(0);
        Argument {
            bytes: Some(if start.is_null() || length == 0 {
                &[] // an empty blob has no address
            } else {
                std::slice::from_raw_parts(start, length)
            }),
            is_blob: kind == ffi::SQLITE_BLOB,
        }
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
