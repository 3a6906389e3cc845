//! Batches of calls that are no conversation: without credit and numbers, one after the other.

use std::time::Duration;

use bytes::Bytes;
use legwork_proto::v1 as wire;
use legwork_records::Limits;

use super::super::convert;
use super::super::rates::Rate;
use super::{Session, acquire, rate};
use crate::problem::Problem;

impl Session {
    /// What a record may be.
    pub(crate) fn limits(&self) -> &Limits {
        let rules = &self.shared.records.streams.rules;
        &rules.of(&self.stream).limits
    }

    fn rate(&self) -> Option<Rate> {
        let sending = self.sending.as_ref().filter(|_| self.limited)?;
        Some(rate(sending.stream()))
    }

    /// Whether more may come now; else how long to wait.
    pub(crate) fn throttle(&self) -> Result<(), Duration> {
        let Some(rate) = self.rate() else {
            return Ok(());
        };
        let streams = &self.shared.records.streams;
        let told = self
            .shared
            .records
            .rates
            .check(&self.owner, &self.stream, rate);
        told.inspect_err(|_| streams.alarms.refused(convert::refused_for("THROTTLED")))
    }

    /// A record was refused before it came here.
    pub(crate) fn count_rejected(&self, reason: &str) {
        self.shared.records.streams.alarms.rejected(reason);
    }

    /// Checks a batch, hands it to the log, and tells what became of it.
    pub(crate) async fn append(
        &mut self,
        records: Bytes,
        observed_each: Vec<u64>,
    ) -> Result<wire::ingest_response::Message, Problem> {
        let stream = self.stream().await?;
        let bytes = records.len() as u64;
        let shared = std::sync::Arc::clone(&self.shared);
        let under_way = std::sync::Arc::clone(&shared.records.under_way);
        let under_way = acquire(under_way, shared.records.permits(records.len())).await?;
        let batch = wire::IngestBatch {
            records,
            observed_each,
            ..wire::IngestBatch::default()
        };
        let pending = match self.prepare(&stream, batch).await? {
            Ok((content, count)) => {
                if let Some(rate) = self.rate() {
                    let rates = &shared.records.rates;
                    rates.take(&self.owner, &self.stream, rate, count, bytes);
                }
                self.hand_over(&stream, 0, content, under_way).await?
            }
            Err(refused) => self.refuse(convert::too_large(0, refused)),
        };
        Ok(pending.told(&shared.records).await)
    }
}
