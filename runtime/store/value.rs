//! Values on their way into SQL (`SqlValue`) and out of it (`ValueRef`, borrowed from the row).
//!
//! Never converts between types: what JS values become is decided in `ext/storage`.

use rusqlite::types::{ToSql, ToSqlOutput};

/// A bound parameter, or a row's value that outlived its statement.
#[derive(Debug, Clone, PartialEq)]
pub enum SqlValue {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    /// Text that is not UTF-8: JS strings may hold half a surrogate pair.
    RawText(Vec<u8>),
    Blob(Vec<u8>),
}

impl ToSql for SqlValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        use rusqlite::types::ValueRef as V;
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => V::Null,
            Self::Integer(value) => V::Integer(*value),
            Self::Real(value) => V::Real(*value),
            Self::Text(value) => V::Text(value.as_bytes()),
            Self::RawText(value) => V::Text(value),
            Self::Blob(value) => V::Blob(value),
        }))
    }
}

/// One value of the current row. Text is what is stored, which need not be UTF-8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

impl<'a> From<rusqlite::types::ValueRef<'a>> for ValueRef<'a> {
    fn from(value: rusqlite::types::ValueRef<'a>) -> Self {
        use rusqlite::types::ValueRef as V;
        match value {
            V::Null => Self::Null,
            V::Integer(value) => Self::Integer(value),
            V::Real(value) => Self::Real(value),
            V::Text(value) => Self::Text(value),
            V::Blob(value) => Self::Blob(value),
        }
    }
}

/// A value kept aside when its statement had to be finished before the row was asked for.
#[derive(Debug, Clone)]
pub(crate) enum KeptValue {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl KeptValue {
    pub(crate) fn new(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(value) => Self::Integer(value),
            ValueRef::Real(value) => Self::Real(value),
            ValueRef::Text(value) => Self::Text(value.to_vec()),
            ValueRef::Blob(value) => Self::Blob(value.to_vec()),
        }
    }

    fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Real(value) => ValueRef::Real(*value),
            Self::Text(value) => ValueRef::Text(value),
            Self::Blob(value) => ValueRef::Blob(value),
        }
    }
}

/// The current row, lent to the callback of [`Cursor::next_row`](crate::Cursor::next_row). Nothing is copied.
pub struct Row<'a>(pub(crate) RowSource<'a>);

pub(crate) enum RowSource<'a> {
    Sqlite {
        row: &'a rusqlite::Row<'a>,
        columns: usize,
    },
    Kept(&'a [KeptValue]),
}

impl Row<'_> {
    /// How many columns the row has.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            RowSource::Sqlite { columns, .. } => *columns,
            RowSource::Kept(values) => values.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of column `index`; NULL beyond the last column.
    #[must_use]
    pub fn get(&self, index: usize) -> ValueRef<'_> {
        match &self.0 {
            RowSource::Sqlite { row, .. } => {
                row.get_ref(index).map_or(ValueRef::Null, ValueRef::from)
            }
            RowSource::Kept(values) => values.get(index).map_or(ValueRef::Null, KeptValue::as_ref),
        }
    }

    /// The values from left to right.
    pub fn iter(&self) -> impl Iterator<Item = ValueRef<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }
}
