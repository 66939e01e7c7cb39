//! Decides what user SQL may name: tables, pragmas, functions, virtual tables.
//!
//! Owns: the allow lists, and notes on what the statement being prepared does. Asked by SQLite while it compiles a
//! statement, also when it silently compiles one again in the middle of a step; so "is this ours?" is a property of
//! the moment, not of the statement, and every step of our own statements runs under [`Authorizer::internally`].
//! Always true: without that guard the rules for user code apply.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::ffi;

/// One question SQLite asks. What `first` and `second` mean depends on `code` (see `sqlite3_set_authorizer`).
pub(crate) struct Action<'a> {
    pub(crate) code: i32,
    pub(crate) first: Option<&'a str>,
    pub(crate) second: Option<&'a str>,
    pub(crate) database: Option<&'a str>,
    /// The trigger or view that asks, if it is not the statement itself.
    pub(crate) accessor: Option<&'a str>,
}

/// What the statement last prepared does, learned from the questions it caused.
#[derive(Debug, Default, Clone)]
pub(crate) struct Notes {
    /// It was refused for being a transaction statement.
    pub(crate) transaction: bool,
    pub(crate) reads_table: bool,
    /// It changes the schema, by how many rows of it (as workerd counts them).
    pub(crate) schema_writes: u64,
    pub(crate) changes_schema: bool,
    /// ALTER TABLE, whose new name the authorizer is not shown.
    pub(crate) alters: bool,
    /// It sets a pragma whose effect belongs to the open transaction.
    pub(crate) transactional_pragma: bool,
    pub(crate) write: Option<Write>,
}

/// The table a statement itself writes (not its triggers).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Write {
    Insert { table: String },
    Update { table: String, columns: Vec<String> },
    Delete,
}

#[derive(Default)]
pub(crate) struct Authorizer {
    internal: Arc<AtomicBool>,
    /// The statements are an operator's, who may read everything and change nothing.
    reader: bool,
    notes: RefCell<Notes>,
    noting: Cell<bool>,
}

/// While it lives, statements are ours: no authorizer, no interruption.
pub(crate) struct Internally<'a> {
    flag: &'a AtomicBool,
    before: bool,
}

impl Drop for Internally<'_> {
    fn drop(&mut self) {
        self.flag.store(self.before, Ordering::Relaxed);
    }
}

impl Authorizer {
    /// For a connection that only reads, tables of ours included.
    pub(crate) fn reader() -> Self {
        Self {
            reader: true,
            ..Self::default()
        }
    }

    pub(crate) fn internally(&self) -> Internally<'_> {
        Internally {
            flag: &self.internal,
            before: self.internal.swap(true, Ordering::Relaxed),
        }
    }

    /// Set while a statement of ours runs. For the progress handler, which must not stop a COMMIT or ROLLBACK.
    pub(crate) fn internal_flag(&self) -> Arc<AtomicBool> {
        self.internal.clone()
    }

    pub(crate) fn start_noting(&self) {
        *self.notes.borrow_mut() = Notes::default();
        self.noting.set(true);
    }

    pub(crate) fn take_notes(&self) -> Notes {
        self.noting.set(false);
        std::mem::take(&mut self.notes.borrow_mut())
    }

    pub(crate) fn allows(&self, action: &Action<'_>) -> bool {
        if self.internal.load(Ordering::Relaxed) {
            return true;
        }
        if self.noting.get() {
            note(&mut self.notes.borrow_mut(), action);
        }
        if self.reader {
            allows_reader(action)
        } else {
            allows_user(action)
        }
    }
}

/// No pragma that sets anything: on a connection that happens to be the only one, `journal_mode` or `wal_checkpoint` would
/// take the log away from the database's owner.
fn allows_reader(action: &Action<'_>) -> bool {
    match action.code {
        ffi::SQLITE_SELECT | ffi::SQLITE_RECURSIVE | ffi::SQLITE_READ => true,
        ffi::SQLITE_FUNCTION => {
            let name = action.second.unwrap_or_default();
            !listed(&["load_extension", "fts3_tokenizer"], name)
        }
        ffi::SQLITE_PRAGMA => match action.second {
            None => listed(READING_PRAGMAS, action.first.unwrap_or_default()),
            Some(_) => listed(ASKING_PRAGMAS, action.first.unwrap_or_default()),
        },
        _ => false,
    }
}

/// Pragmas that, without a value, only tell.
const READING_PRAGMAS: &[&str] = &[
    "application_id",
    "compile_options",
    "data_version",
    "encoding",
    "foreign_key_check",
    "freelist_count",
    "integrity_check",
    "journal_mode",
    "page_count",
    "page_size",
    "quick_check",
    "schema_version",
    "table_list",
    "user_version",
];

/// Pragmas whose value says what is asked about.
const ASKING_PRAGMAS: &[&str] = &[
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
];

fn note(notes: &mut Notes, action: &Action<'_>) {
    let table = || action.first.unwrap_or_default().to_owned();
    let own = action.accessor.is_none() && !action.first.is_some_and(is_schema_table);
    match action.code {
        ffi::SQLITE_TRANSACTION | ffi::SQLITE_SAVEPOINT => notes.transaction = true,
        ffi::SQLITE_READ => notes.reads_table = true,
        ffi::SQLITE_PRAGMA => {
            let defers = action
                .first
                .is_some_and(|name| name.eq_ignore_ascii_case("defer_foreign_keys"));
            notes.transactional_pragma |= defers && action.second.is_some();
        }
        ffi::SQLITE_INSERT if own && notes.write.is_none() => {
            notes.write = Some(Write::Insert { table: table() })
        }
        ffi::SQLITE_DELETE if own && notes.write.is_none() => notes.write = Some(Write::Delete),
        ffi::SQLITE_UPDATE if own => match &mut notes.write {
            None => {
                let columns = vec![action.second.unwrap_or_default().to_owned()];
                notes.write = Some(Write::Update {
                    table: table(),
                    columns,
                });
            }
            Some(Write::Update { columns, .. }) => {
                columns.push(action.second.unwrap_or_default().to_owned())
            }
            Some(Write::Insert { .. } | Write::Delete) => {} // an upsert: counted as the insert it tried to be
        },
        ffi::SQLITE_ALTER_TABLE => {
            notes.alters = true;
            notes.changes_schema = true;
            notes.schema_writes += 1;
        }
        ffi::SQLITE_CREATE_TABLE => {
            notes.changes_schema = true;
            notes.schema_writes += 2;
        }
        ffi::SQLITE_CREATE_INDEX
        | ffi::SQLITE_CREATE_VIEW
        | ffi::SQLITE_CREATE_TRIGGER
        | ffi::SQLITE_CREATE_VTABLE => {
            notes.changes_schema = true;
            notes.schema_writes += 1;
        }
        ffi::SQLITE_DROP_INDEX
        | ffi::SQLITE_DROP_TABLE
        | ffi::SQLITE_DROP_TRIGGER
        | ffi::SQLITE_DROP_VIEW
        | ffi::SQLITE_DROP_VTABLE => notes.changes_schema = true,
        _ => {}
    }
}

fn is_schema_table(name: &str) -> bool {
    [
        "sqlite_master",
        "sqlite_schema",
        "sqlite_temp_master",
        "sqlite_temp_schema",
    ]
    .iter()
    .any(|table| name.eq_ignore_ascii_case(table))
}

fn allows_user(action: &Action<'_>) -> bool {
    let public = |name: Option<&str>| !name.is_some_and(is_reserved);
    let in_main = action
        .database
        .is_none_or(|name| name.eq_ignore_ascii_case("main"));
    match action.code {
        ffi::SQLITE_SELECT | ffi::SQLITE_RECURSIVE => true,
        // The temporary schema is always empty; SQLite reads it to find things.
        ffi::SQLITE_READ => public(action.first),
        ffi::SQLITE_CREATE_TABLE
        | ffi::SQLITE_CREATE_VIEW
        | ffi::SQLITE_DELETE
        | ffi::SQLITE_DROP_TABLE
        | ffi::SQLITE_DROP_VIEW
        | ffi::SQLITE_INSERT
        | ffi::SQLITE_DROP_VTABLE => in_main && public(action.first),
        ffi::SQLITE_CREATE_INDEX
        | ffi::SQLITE_CREATE_TRIGGER
        | ffi::SQLITE_DROP_INDEX
        | ffi::SQLITE_DROP_TRIGGER => in_main && public(action.first) && public(action.second),
        // ALTER TABLE also looks for mentions of the table in the (empty) temporary schema. A direct write to any
        // schema table is refused by SQLite itself.
        ffi::SQLITE_UPDATE => {
            (in_main || action.first.is_some_and(is_schema_table)) && public(action.first)
        }
        // `PRAGMA optimize` and a bare `ANALYZE` come across our tables too. All they leave is how many rows there are.
        // A bare REINDEX does, and changes nothing that could be seen.
        ffi::SQLITE_ANALYZE | ffi::SQLITE_REINDEX => in_main,
        // Here the database comes first.
        ffi::SQLITE_ALTER_TABLE => {
            action
                .first
                .is_none_or(|name| name.eq_ignore_ascii_case("main"))
                && public(action.second)
        }
        ffi::SQLITE_CREATE_VTABLE => {
            in_main
                && public(action.first)
                && listed(VIRTUAL_TABLES, action.second.unwrap_or_default())
        }
        ffi::SQLITE_FUNCTION => listed(FUNCTIONS, action.second.unwrap_or_default()),
        ffi::SQLITE_PRAGMA => {
            in_main && allows_pragma(action.first.unwrap_or_default(), action.second)
        }
        // BEGIN and friends, ATTACH, DETACH, everything TEMP, and whatever SQLite learns next.
        _ => false,
    }
}

fn is_reserved(name: &str) -> bool {
    let starts = |prefix: &str| {
        name.as_bytes()
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    starts("_cf_") || starts("sqlite_autoindex__cf_")
}

fn listed(list: &[&str], name: &str) -> bool {
    list.iter().any(|entry| entry.eq_ignore_ascii_case(name))
}

fn allows_pragma(name: &str, value: Option<&str>) -> bool {
    let is_number = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
    if listed(&["data_version", "page_size"], name) {
        value.is_none()
    } else if listed(&["table_list", "foreign_key_check"], name) {
        value.is_none_or(|object| !is_reserved(object))
    } else if listed(
        &[
            "table_info",
            "table_xinfo",
            "index_info",
            "index_xinfo",
            "index_list",
            "foreign_key_list",
        ],
        name,
    ) {
        value.is_some_and(|object| !is_reserved(object))
    } else if listed(
        &[
            "case_sensitive_like",
            "foreign_keys",
            "defer_foreign_keys",
            "ignore_check_constraints",
            "legacy_alter_table",
            "recursive_triggers",
            "reverse_unordered_selects",
        ],
        name,
    ) {
        // workerd looks at the first digit only.
        value.is_none_or(|value| {
            value.starts_with(['0', '1'])
                || listed(&["on", "off", "true", "false", "yes", "no"], value)
        })
    } else if name.eq_ignore_ascii_case("quick_check") {
        value.is_none_or(|value| !is_reserved(value))
    } else if name.eq_ignore_ascii_case("optimize") {
        value.is_none_or(is_number)
    } else {
        false
    }
}

const VIRTUAL_TABLES: &[&str] = &["fts5", "fts5vocab", "rtree", "rtree_i32"];

#[rustfmt::skip]
const FUNCTIONS: &[&str] = &[
    // core
    "abs", "changes", "char", "coalesce", "concat", "concat_ws", "format", "glob", "hex", "ifnull", "iif", "instr",
    "last_insert_rowid", "length", "like", "likelihood", "likely", "load_extension", "lower", "ltrim", "max", "min",
    "nullif", "octet_length", "printf", "quote", "random", "randomblob", "replace", "round", "rtrim", "sign",
    "soundex", "substr", "substring", "total_changes", "trim", "typeof", "unhex", "unicode", "unlikely", "upper",
    "zeroblob",
    // date and time
    "current_date", "current_time", "current_timestamp", "date", "datetime", "julianday", "strftime", "time",
    "timediff", "unixepoch",
    // aggregate and window
    "avg", "count", "group_concat", "string_agg", "sum", "total",
    "cume_dist", "dense_rank", "first_value", "lag", "last_value", "lead", "nth_value", "ntile", "percent_rank",
    "rank", "row_number",
    // math
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "cos", "cosh", "degrees", "exp", "floor",
    "ln", "log", "log2", "mod", "pi", "pow", "radians", "sin", "sinh", "sqrt", "tan", "tanh", "trunc",
    // JSON
    "->", "->>", "json", "json_array", "json_array_length", "json_each", "json_extract",
    "json_group_array", "json_group_object", "json_insert", "json_object", "json_patch", "json_quote",
    "json_remove", "json_replace", "json_set", "json_tree", "json_type", "json_valid", "jsonb", "jsonb_array",
    "jsonb_each", "jsonb_extract", "jsonb_group_array", "jsonb_group_object", "jsonb_insert", "jsonb_object",
    "jsonb_patch", "jsonb_remove", "jsonb_replace", "jsonb_set", "jsonb_tree",
    // ALTER TABLE's own tools; SQLite lets nothing else call them
    "sqlite_add_constraint", "sqlite_drop_column", "sqlite_drop_constraint", "sqlite_fail", "sqlite_find_constraint",
    "sqlite_rename_column", "sqlite_rename_quotefix", "sqlite_rename_table", "sqlite_rename_test",
    // FTS5 and R*Tree
    "bm25", "highlight", "match", "snippet", "rtreecheck",
];
