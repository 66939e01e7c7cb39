//! `ctx.storage`: key-value, SQL and transactions over the object's own database. API: README.md.

mod databases;
mod ops;

pub use databases::{Databases, TurnCommit};

use std::rc::Rc;

deno_core::extension!(
    facetd_storage,
    deps = [facetd_rpc],
    ops = [
        ops::op_kv_get,
        ops::op_kv_get_all,
        ops::op_kv_check_value,
        ops::op_kv_put,
        ops::op_kv_put_all,
        ops::op_kv_delete,
        ops::op_kv_list,
        ops::op_kv_cursor,
        ops::op_kv_cursor_next,
        ops::op_sql_exec,
        ops::op_sql_next,
        ops::op_sql_all,
        ops::op_sql_columns,
        ops::op_sql_read,
        ops::op_sql_written,
        ops::op_sql_size,
        ops::op_sql_stop,
        ops::op_alarm_get,
        ops::op_alarm_set,
        ops::op_alarm_delete,
        ops::op_alarm_begin,
        ops::op_alarm_end,
        ops::op_alarm_abandon,
        ops::op_bookmark_now,
        ops::op_bookmark_at,
        ops::op_bookmark_restore,
        ops::op_storage_delete_all,
        ops::op_txn_savepoint,
        ops::op_txn_savepoint_end,
        ops::op_txn_begin,
        ops::op_txn_commit,
        ops::op_txn_rollback,
    ],
    esm = [dir ".", "00_storage.js", "10_alarm.js"],
    state = |state| {
        state.put(Rc::new(Databases::default()));
    },
);
