//! The half that sends what the spool has.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use legwork_client::{FromSpool, Heard, SendOptions};
use legwork_records::spool::Spool;

use super::Figures;
use super::sample::jittered;
use crate::app::App;
use crate::choice::Choice;
use crate::commands::records::send::host_name;
use crate::error::CommandError;
use crate::{local, remote};

/// Pauses between attempts: each twice the one before, and some more by lot.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Sends for ever. What a server says against it is told, and it is tried again: the server may be mended, the spool is kept.
pub(super) async fn send(
    app: &App,
    choice: &Choice,
    stream: &str,
    spool: &Arc<Spool>,
    figures: &Figures,
) {
    let mut pause = PAUSE_MIN;
    let mut told = None;
    loop {
        let taken = figures.acknowledged.load(Relaxed);
        if let Err(error) = once(app, choice, stream, spool, figures).await
            && told.as_ref() != Some(&error.message)
        {
            app.out
                .note(&format!("{}; what is collected is kept", error.message));
            told = Some(error.message);
        }
        if figures.acknowledged.load(Relaxed) > taken {
            (pause, told) = (PAUSE_MIN, None);
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn once(
    app: &App,
    choice: &Choice,
    stream: &str,
    spool: &Arc<Spool>,
    figures: &Figures,
) -> Result<(), CommandError> {
    let session = match choice {
        Choice::Local => local::open(app, app.state_dir()?).await?,
        elsewhere => remote::open(app, elsewhere).await?,
    };
    let options = SendOptions {
        stream: stream.to_owned(),
        host: host_name(),
    };
    let mut source = FromSpool::new(Arc::clone(spool));
    let hear = |heard| hear(app, figures, heard);
    session
        .client
        .send_records(&options, &mut source, hear)
        .await?;
    Ok(())
}

fn hear(app: &App, figures: &Figures, heard: Heard) {
    match heard {
        Heard::Welcome(_) => {}
        Heard::Ack(ack) => {
            figures.acknowledged.fetch_add(1, Relaxed);
            if ack.rejected > 0 {
                figures.rejected.fetch_add(ack.rejected, Relaxed);
                figures.anew.store(true, Relaxed);
                let why = ack.rejections.first();
                let why = why.map_or("", |rejection| &rejection.message);
                app.out.note(&format!(
                    "the server refuses {} of a snapshot: {why}",
                    crate::mirror::count(ack.rejected, "record")
                ));
            }
            if ack.rivals {
                app.out.note("another agent sends under this one's producer: was this machine's disk copied?");
            }
        }
        Heard::Delayed(refusal) => {
            app.out.note(&format!(
                "the server takes nothing just now: {}",
                refusal.message
            ));
        }
    }
}
