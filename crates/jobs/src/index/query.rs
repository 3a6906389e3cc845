//! What is asked of the index.

use std::collections::{BTreeMap, HashSet};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::{QueryError, row};
use crate::id::JobId;
use crate::job::{Cursor, Job, ListQuery, Page};
use crate::state::{JobState, Phase};

/// A row.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The job as it was when the row was last written.
    pub(crate) job: Job,
    /// Its directory knows more.
    pub(crate) open: bool,
}

const COLUMNS: &str = "id, open, asked, state";

fn number(value: u64) -> i64 {
    // Stored as the same 64 bits; both columns of this kind stay below 2^63 anyhow.
    value.cast_signed()
}

/// Reads a row, or nothing if it lacks one of these labels.
fn entry(row: &Row<'_>, labels: &[(String, String)]) -> Result<Option<Entry>, QueryError> {
    let blob = |column| match row.get_ref(column)? {
        ValueRef::Blob(bytes) => Ok(bytes),
        _ => Err(QueryError::Row),
    };
    let id = Uuid::from_slice(blob(0)?).map_err(|_| QueryError::Row)?;
    let Some(asked) = row::decode_asked(blob(2)?, labels)? else {
        return Ok(None);
    };
    Ok(Some(Entry {
        open: row.get(1)?,
        job: Job {
            id: id.into(),
            asked,
            state: row::decode_state(blob(3)?)?,
        },
    }))
}

/// Adds a job.
pub(crate) fn insert(connection: &Connection, job: &Job) -> Result<(), QueryError> {
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO job (created_ms, id, code, owner, name, phase, open, asked, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let meta = &job.asked.meta;
    insert.execute(params![
        number(meta.created_at_ms),
        job.id.uuid().as_bytes(),
        number(job.id.number()),
        meta.owner,
        meta.name,
        job.state.phase() as u8,
        !job.state.is_settled(),
        row::encode_asked(&job.asked),
        row::encode_state(&job.state),
    ])?;
    Ok(())
}

/// Writes down what a job is doing now; tells whether that is its end, of which nothing was written before.
pub(crate) fn update(
    connection: &Connection,
    id: JobId,
    state: &JobState,
) -> Result<bool, QueryError> {
    let ends = state.finished().is_some() && is_unfinished(connection, id)?;
    let mut update = connection.prepare_cached(
        "UPDATE job SET phase = ?3, open = ?4, state = ?5 WHERE code = ?1 AND id = ?2",
    )?;
    update.execute(params![
        number(id.number()),
        id.uuid().as_bytes(),
        state.phase() as u8,
        !state.is_settled(),
        row::encode_state(state),
    ])?;
    Ok(ends)
}

fn is_unfinished(connection: &Connection, id: JobId) -> Result<bool, QueryError> {
    let mut select = connection
        .prepare_cached("SELECT 1 FROM job WHERE code = ?1 AND id = ?2 AND phase <> ?3")?;
    Ok(select.exists(params![
        number(id.number()),
        id.uuid().as_bytes(),
        Phase::Finished as u8
    ])?)
}

/// Forgets a job.
pub(crate) fn delete(connection: &Connection, id: JobId) -> Result<(), QueryError> {
    connection
        .prepare_cached("DELETE FROM job WHERE code = ?1 AND id = ?2")?
        .execute(params![number(id.number()), id.uuid().as_bytes()])?;
    Ok(())
}

/// One job.
pub(crate) fn get(connection: &Connection, id: JobId) -> Result<Option<Entry>, QueryError> {
    let sql = format!("SELECT {COLUMNS} FROM job WHERE code = ?1 AND id = ?2");
    connection
        .prepare_cached(&sql)?
        .query_row(params![number(id.number()), id.uuid().as_bytes()], |row| {
            Ok(entry(row, &[]))
        })
        .optional()?
        .map_or(Ok(None), |found| found)
}

/// All jobs whose directories know more.
pub(crate) fn open_jobs(connection: &Connection) -> Result<Vec<Entry>, QueryError> {
    let sql = format!("SELECT {COLUMNS} FROM job WHERE open");
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.extend(entry(row, &[])?);
    }
    Ok(found)
}

/// Every job.
pub(crate) fn ids(connection: &Connection) -> Result<HashSet<JobId>, QueryError> {
    let mut select = connection.prepare_cached("SELECT id FROM job")?;
    let ids = select.query_map([], |row| row.get::<_, [u8; 16]>(0))?;
    ids.map(|id| Ok(JobId::from(Uuid::from_bytes(id?))))
        .collect()
}

/// Some of the jobs whose number is in this range, of one owner if any is named.
pub(crate) fn in_range(
    connection: &Connection,
    first: u64,
    last: u64,
    owner: Option<&str>,
    limit: usize,
) -> Result<Vec<JobId>, QueryError> {
    let mut select = connection.prepare_cached(
        "SELECT id FROM job WHERE code BETWEEN ?1 AND ?2 AND (?3 IS NULL OR owner = ?3) LIMIT ?4",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let ids = select.query_map(params![number(first), number(last), owner, limit], |row| {
        row.get::<_, [u8; 16]>(0)
    })?;
    ids.map(|id| Ok(JobId::from(Uuid::from_bytes(id?))))
        .collect()
}

/// How many jobs are in each phase.
pub(crate) fn count(connection: &Connection) -> Result<BTreeMap<Phase, u64>, QueryError> {
    let mut select = connection.prepare_cached("SELECT phase, COUNT(*) FROM job GROUP BY phase")?;
    let mut rows = select.query([])?;
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let phase = Phase::ALL.get(usize::from(row.get::<_, u8>(0)?));
        let phase = phase.ok_or(QueryError::Row)?;
        found.insert(*phase, row.get::<_, i64>(1)?.cast_unsigned());
    }
    Ok(found)
}

/// How many jobs of an owner had not ended when they were last looked at. Those of a newer legwork are for that one to count.
pub(crate) fn alive(connection: &Connection, owner: &str) -> Result<usize, QueryError> {
    let mut select = connection.prepare_cached(
        "SELECT COUNT(*) FROM job WHERE open AND owner = ?1 AND phase NOT IN (?2, ?3)",
    )?;
    let over = (Phase::Finished as u8, Phase::Unknown as u8);
    let count: i64 = select.query_row(params![owner, over.0, over.1], |row| row.get(0))?;
    usize::try_from(count).map_err(|_| QueryError::Row)
}

/// Jobs after a cursor, newest first. Where to begin is always given: the page is gone to, not looked for from the newest
/// on.
fn page_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM job
         WHERE (created_ms, id) < (?1, ?2)
           AND (?3 IS NULL OR owner IN (SELECT value FROM json_each(?3))) AND (?4 IS NULL OR name = ?4)
           AND (?5 >> phase & 1)
         ORDER BY created_ms DESC, id DESC"
    )
}

/// A page of jobs, newest first.
pub(crate) fn list(connection: &Connection, query: &ListQuery) -> Result<Page, QueryError> {
    let sql = page_sql();
    let mut select = connection.prepare_cached(&sql)?;
    let phases = query.phases.as_ref().map_or(!0, |phases| {
        phases
            .iter()
            .fold(0, |bits, phase| bits | 1_i64 << *phase as u8)
    });
    let owners = query
        .owners
        .as_ref()
        .map(|owners| serde_json::Value::from(owners.as_slice()).to_string());
    // No job is at the very end.
    let (created_ms, id) = query.after.map_or((i64::MAX, Uuid::max()), |cursor| {
        (number(cursor.created_at_ms), cursor.id.uuid())
    });
    let mut rows = select.query(params![
        created_ms,
        id.as_bytes(),
        owners,
        query.name,
        phases,
    ])?;
    let limit = query.limit.unwrap_or(usize::MAX).max(1);
    let mut page = Page {
        jobs: Vec::new(),
        next: None,
    };
    while let Some(row) = rows.next()? {
        let Some(found) = entry(row, &query.labels)? else {
            continue;
        };
        if page.jobs.len() >= limit {
            page.next = page.jobs.last().map(|last| Cursor {
                created_at_ms: last.asked.meta.created_at_ms,
                id: last.id,
            });
            break;
        }
        page.jobs.push(found.job);
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    #[test]
    fn a_page_is_gone_to_and_not_looked_for() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(super::super::connection::SCHEMA)
            .unwrap();
        let sql = format!("EXPLAIN QUERY PLAN {}", super::page_sql());
        let mut plan = connection.prepare(&sql).unwrap();
        let steps: Vec<String> = plan
            .query_map([rusqlite::types::Null; 5], |row| row.get("detail"))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let whole = "SEARCH job USING PRIMARY KEY ((created_ms,id)<(?,?))";
        assert!(steps.iter().any(|step| step == whole), "{steps:?}");
        assert!(
            !steps.iter().any(|step| step.contains("TEMP B-TREE")),
            "{steps:?}"
        );
    }
}
