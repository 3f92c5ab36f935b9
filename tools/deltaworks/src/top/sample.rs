//! What a daemon told at one moment: its status, its first documents and its first sessions.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::admin::{Admin, AdminError};
use crate::documents::{self, DocumentSort, DocumentsPage};
use crate::sessions::{self, SessionSort, SessionsPage};
use crate::status::Status;

/// Rows of documents and of sessions that are asked for: more than any terminal shows.
const ROWS_MAX: u64 = 100;
/// Over how long the daemon takes the rates of documents and of sessions at most.
const SAMPLE_MS_MAX: u32 = 500;

/// By what rows are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sorting {
    /// Documents.
    pub documents: DocumentSort,
    /// Sessions.
    pub sessions: SessionSort,
}

/// What was told.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When the status was there.
    pub at: Instant,
    /// The status.
    pub status: Status,
    /// The first documents.
    pub documents: DocumentsPage,
    /// The first sessions.
    pub sessions: SessionsPage,
    /// By what both are sorted.
    pub sorting: Sorting,
    /// The same three as the daemon wrote them.
    pub told: [Value; 3],
}

impl Sample {
    /// Asks the daemon; rates of documents and sessions are taken over no more than `interval`.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn take(
        admin: &Admin,
        sorting: Sorting,
        interval: Duration,
    ) -> Result<Sample, AdminError> {
        let sample_ms = (interval.as_millis() as u32).clamp(10, SAMPLE_MS_MAX);
        let sampled = Duration::from_millis(u64::from(sample_ms));
        let documents = documents::place(sorting.documents, 0, ROWS_MAX, sample_ms);
        let sessions = sessions::place(sorting.sessions, 0, ROWS_MAX, sample_ms);
        let status = async {
            let status: Value = admin.get("/v1/status", Duration::ZERO).await?;
            Ok::<_, AdminError>((Instant::now(), status))
        };
        let ((at, status), documents, sessions) = tokio::try_join!(
            status,
            admin.get::<Value>(&documents, sampled),
            admin.get::<Value>(&sessions, sampled),
        )?;
        Sample::of(at, sorting, [status, documents, sessions])
    }

    /// What the three answers say.
    ///
    /// # Errors
    /// Which of them is not understood.
    pub fn of(at: Instant, sorting: Sorting, told: [Value; 3]) -> Result<Sample, AdminError> {
        fn read<T: serde::de::DeserializeOwned>(what: &str, told: &Value) -> Result<T, AdminError> {
            T::deserialize(told)
                .map_err(|error| AdminError::Answer(what.to_owned(), error.to_string()))
        }
        Ok(Sample {
            at,
            status: read("/v1/status", &told[0])?,
            documents: read("/v1/documents", &told[1])?,
            sessions: read("/v1/sessions", &told[2])?,
            sorting,
            told,
        })
    }
}
