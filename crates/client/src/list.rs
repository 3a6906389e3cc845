//! Lists of jobs: asked for a page at a time, since there may be very many. A page is the server's to fill, in one message; where
//! the next begins is in the token that came with it, so a list goes on where it was when a connection breaks.

use std::collections::BTreeMap;
use std::sync::Arc;

use legwork_proto::v1 as wire;

use crate::client::jobs;
use crate::contact::Contact;
use crate::convert;
use crate::error::Result;
use crate::job::Job;

/// Jobs per page.
const PAGE: u32 = 500;

/// Which jobs to list. The default is all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListFilter {
    /// Only those not finished, or only those finished.
    pub finished: Option<bool>,
    /// Only those with all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Only those of this owner.
    pub owner: Option<String>,
    /// Only those of this name.
    pub name: Option<String>,
}

/// What is left of a list, newest first.
#[derive(Debug)]
pub struct Pages {
    contact: Arc<Contact>,
    /// What to ask for next; `None` when that was all.
    next: Option<wire::ListRequest>,
}

impl Pages {
    pub(crate) fn new(contact: Arc<Contact>, filter: &ListFilter) -> Self {
        let next = wire::ListRequest {
            states: convert::states(filter.finished),
            labels: filter.labels.clone().into_iter().collect(),
            owner: filter.owner.clone(),
            name: filter.name.clone(),
            page_size: PAGE,
            page_token: String::new(),
        };
        Self {
            contact,
            next: Some(next),
        }
    }

    /// The next jobs, `None` after the last. A page may be empty and others follow.
    ///
    /// # Errors
    /// What the server or the connection says; the same page can be asked for again.
    pub async fn next(&mut self) -> Result<Option<Vec<Job>>> {
        let Some(request) = &mut self.next else {
            return Ok(None);
        };
        let call = |channel| {
            let request = request.clone();
            async move { jobs(channel).list(request).await }
        };
        let page = self.contact.repeat(call).await?;
        let found = page
            .jobs
            .into_iter()
            .map(convert::job)
            .collect::<Result<_>>()?;
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            self.next = None;
        }
        Ok(Some(found))
    }
}
