//! `facetd db query`: SQL against one database.

use super::address::Address;
use super::endpoint::{Endpoint, Received};
use super::error::DbError;
use super::request::{Line, Request};
use super::table::Table;
use serde_json::Value;
use std::io::{self, StdoutLock, Write};
use std::time::Duration;

pub struct Query<'a> {
    pub database: Address,
    pub sql: String,
    pub write: bool,
    pub timeout: Duration,
    pub json: bool,
    pub endpoint: &'a mut Endpoint,
}

pub fn run(query: Query<'_>) -> Result<(), DbError> {
    let request = Request::Query {
        database: query.database,
        sql: query.sql,
        write: query.write,
        timeout_ms: u64::try_from(query.timeout.as_millis()).unwrap_or(u64::MAX),
    };
    let mut out = io::stdout().lock();
    let mut printer: Box<dyn Printer> = if query.json {
        Box::new(Json::default())
    } else {
        Box::new(Tables::default())
    };
    let failed = |error: io::Error| DbError::failed(format!("cannot write: {error}"));
    let asked = query
        .endpoint
        .ask(request, &[], &mut |received| match received {
            Received::Line(line) => printer.line(&mut out, line).map_err(failed),
            Received::Content(..) => Ok(()),
        });
    // What came before an error is part of the answer.
    printer.end(&mut out, asked.is_ok()).map_err(failed)?;
    out.flush().map_err(failed)?;
    asked
}

trait Printer {
    fn line(&mut self, out: &mut StdoutLock<'_>, line: Line) -> io::Result<()>;
    fn end(&mut self, out: &mut StdoutLock<'_>, whole: bool) -> io::Result<()>;
}

#[derive(Default)]
struct Tables {
    table: Option<Table<Vec<u8>>>,
}

impl Printer for Tables {
    fn line(&mut self, out: &mut StdoutLock<'_>, line: Line) -> io::Result<()> {
        match line {
            Line::Columns(columns) => self.table = Some(Table::new(Vec::new(), &columns)),
            Line::Row(values) => {
                if let Some(table) = &mut self.table {
                    table.row(&values)?;
                    out.write_all(&std::mem::take(table.out()))?;
                }
            }
            Line::End { written } => {
                if let Some(table) = self.table.take() {
                    out.write_all(&table.end()?)?;
                }
                if let Some(written) = written {
                    writeln!(out, "{written} written (rows and index entries)")?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, out: &mut StdoutLock<'_>, _whole: bool) -> io::Result<()> {
        match self.table.take() {
            Some(table) => out.write_all(&table.end()?),
            None => Ok(()),
        }
    }
}

/// One array with an object per statement, written as the rows come: `[{"columns":[...],"rows":[[...],...]}]`. Rows
/// are arrays, because two columns may have the same name.
#[derive(Default)]
struct Json {
    statements: usize,
    rows: Option<usize>,
}

impl Json {
    fn open(&mut self, out: &mut StdoutLock<'_>, columns: &[String]) -> io::Result<()> {
        let before = if self.statements == 0 { "[" } else { ",\n " };
        self.statements += 1;
        self.rows = Some(0);
        write!(
            out,
            "{before}{{\"columns\":{},\"rows\":[",
            Value::from(columns)
        )
    }
}

impl Printer for Json {
    fn line(&mut self, out: &mut StdoutLock<'_>, line: Line) -> io::Result<()> {
        match line {
            Line::Columns(columns) => self.open(out, &columns),
            Line::Row(values) => {
                let rows = self.rows.get_or_insert(0);
                let before = if *rows == 0 { "" } else { "," };
                *rows += 1;
                write!(out, "{before}\n  {}", Value::from(values))
            }
            Line::End { written } => {
                if self.rows.is_none() {
                    self.open(out, &[])?;
                }
                self.rows = None;
                match written {
                    Some(written) => write!(out, "],\"written\":{written}}}"),
                    None => write!(out, "]}}"),
                }
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, out: &mut StdoutLock<'_>, whole: bool) -> io::Result<()> {
        if self.rows.is_some() {
            write!(out, "]}}")?;
        }
        match (self.statements, whole) {
            (0, true) => writeln!(out, "[]"),
            (0, false) => Ok(()),
            // Cut off on purpose when it failed: nobody may take half a result for all of it.
            (_, true) => writeln!(out, "]"),
            (_, false) => writeln!(out),
        }
    }
}
