//! From a wire spec to a job: where it runs, and on which committed tree.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use legwork_identity::{Principal, Via};
use legwork_jobs::output::{Output, Position, Read, Streams};
use legwork_jobs::{
    ByteString, JobId, LimitsMode, OUTPUT_LIMIT, STOP_GRACE, STOP_SIGNAL, StartRequest, Stdin,
};
use legwork_proto::v1 as wire;
use legwork_sync::Digest;
use legwork_sync::workspace::SharedLease;
use tonic::Code;

use crate::access::Call;
use crate::floor;
use crate::limits;
use crate::problem::Problem;
use crate::run_as::{self, Account};
use crate::server::Shared;
use crate::sites::Entry;
use crate::workspaces::{WorkspaceId, own};

/// How long a job waits for the root that it needs.
const ROOT_WAIT: Duration = Duration::from_secs(600);

/// All of a job's output, until it ends.
const FOLLOWED: Read = Read {
    from: Position::Start,
    follow: true,
    streams: Streams::Raw,
};

/// Starts each spec by itself, or only accepts all of them; answers in order.
pub(crate) async fn all(
    shared: Arc<Shared>,
    call: Arc<Call>,
    specs: Vec<wire::JobSpec>,
    accept: bool,
) -> Result<Vec<Result<wire::Job, Problem>>, Problem> {
    let caller = call.principal()?;
    let mut starting = shared
        .usage
        .start(caller, &shared.jobs, specs.len())
        .await?;
    let mut leases = Vec::new();
    let room = || floor::check(shared.jobs.state_dir(), shared.job_rules.disk_floor);
    let full = room().is_err();
    let mut requests = Vec::new();
    let mut best_effort = false;
    let mut refused = Vec::with_capacity(specs.len());
    for spec in specs {
        if accept && spec.place.as_ref().is_some_and(needs_mirror) {
            refused.push(Some(accept_workspace()));
            continue;
        }
        match prepare(&shared, &call, spec).await {
            Ok((request, lease)) => {
                // A start that is repeated takes nothing from the others.
                let doubtful = starting.is_short() || full;
                let repeated = doubtful && shared.knows(request.id).await;
                if full
                    && !repeated
                    && let Err(problem) = room()
                {
                    refused.push(Some(problem));
                    continue;
                }
                if !repeated && !starting.take() {
                    refused.push(Some(shared.usage.too_many_jobs()));
                    continue;
                }
                best_effort |= request.limits_mode == LimitsMode::BestEffort;
                requests.push(request);
                // Held until the shims have taken their own: no commit may come between.
                leases.extend(lease);
                refused.push(None);
            }
            Err(problem) => refused.push(Some(problem)),
        }
    }
    let started = if accept {
        shared.jobs.accept(requests).await?
    } else {
        shared.jobs.start_many(requests).await
    };
    let mut started = started.into_iter();
    drop((leases, starting));
    let results = refused.into_iter().filter_map(|refusal| match refusal {
        Some(problem) => Some(Err(problem)),
        None => started.next().map(|result| result.map_err(Problem::from)),
    });
    let mut told = Vec::new();
    for result in results {
        told.push(match result {
            // What became of limits that need not be kept is news to whoever asked.
            Ok(job) if best_effort => Ok(shared.wire_job_and_limits(job).await),
            result => result.map(|job| shared.wire_job(job)),
        });
    }
    Ok(told)
}

/// What a batch says of one of its specs.
pub(crate) fn told(result: Result<wire::Job, Problem>) -> wire::StartResult {
    wire::StartResult {
        result: Some(match result {
            Ok(job) => wire::start_result::Result::Job(job),
            Err(problem) => wire::start_result::Result::Refusal(problem.into()),
        }),
    }
}

/// Starts one spec, and opens its output from the first byte. There is none of a job that was not started. That it cannot be opened
/// is told beside the job, which runs.
pub(crate) async fn followed(
    shared: Arc<Shared>,
    call: Arc<Call>,
    spec: wire::JobSpec,
) -> Result<(wire::Job, Option<Result<Output, Problem>>), Problem> {
    let about = Arc::clone(&call);
    let mut results = all(Arc::clone(&shared), call, vec![spec], false).await?;
    let job = results
        .pop()
        .unwrap_or_else(|| Err(Problem::malformed("no spec")))?;
    let id: uuid::Uuid = job
        .id
        .parse()
        .map_err(|_| Problem::new(Code::Internal, "BAD_ID", "a job without an id"))?;
    about.about(&job.id);
    let ended = job.finish.as_ref();
    if ended.is_some_and(|finish| finish.cause() == wire::Cause::NotStarted) {
        return Ok((job, None));
    }
    let output = shared.jobs.output(id.into(), FOLLOWED).await;
    Ok((job, Some(output.map_err(Problem::from))))
}

/// Nobody would hold the mirror still until the job begins.
fn needs_mirror(place: &wire::Place) -> bool {
    place.workspace.is_some() || place.require_root.is_some()
}

fn accept_workspace() -> Problem {
    let message =
        "a job in a mirror cannot be accepted ahead of its start: start it without `accept`";
    Problem::new(Code::InvalidArgument, "ACCEPT_WORKSPACE", message)
}

async fn prepare(
    shared: &Shared,
    call: &Call,
    spec: wire::JobSpec,
) -> Result<(StartRequest, Option<SharedLease>), Problem> {
    let caller = call.principal()?;
    let id: uuid::Uuid = spec
        .id
        .parse()
        .map_err(|_| Problem::malformed("a job id that is no UUID"))?;
    let stdin = match spec.stdin() {
        wire::Stdin::Pipe => Stdin::Pipe,
        wire::Stdin::Null | wire::Stdin::Unspecified => Stdin::Null,
    };
    let (limits_mode, on_exit) = (spec.limits_mode(), spec.on_exit());
    let user = shared.accounts.of(caller)?;
    let place = place(
        shared,
        caller,
        user.as_ref(),
        spec.place.unwrap_or_default(),
    )
    .await?;
    let output_asked = spec.output_limit.is_some();
    let mut request = StartRequest {
        limits: limits::asked(spec.limits)?,
        limits_mode: limits::mode(limits_mode),
        on_exit: limits::on_exit(on_exit),
        env: environment(caller, user.as_deref(), spec.env, &place.dir),
        stdin,
        merge: spec.merge,
        timeout: spec.timeout_ms.map(Duration::from_millis),
        stop_signal: spec.stop_signal.unwrap_or(STOP_SIGNAL),
        stop_grace: spec.stop_grace_ms.map_or(STOP_GRACE, Duration::from_millis),
        output_limit: spec.output_limit.unwrap_or(OUTPUT_LIMIT),
        lease: place.lease_path.map(|path| path.as_path().into()),
        tree: place.tree.map(|path| path.as_path().into()),
        name: spec.name,
        labels: spec.labels.into_iter().collect(),
        owner: caller.owner(),
        run_as: user.as_ref().map(|user| user.run_as()),
        user: Some(match user {
            Some(user) => user.name.clone(),
            None => shared.accounts.own_name().to_owned(),
        }),
        workspace: place.workspace.map(|id| id.to_string()),
        root: place.root.map(|root| root.to_string()),
        ..StartRequest::new(
            JobId::from(id),
            spec.argv.into_iter().map(Vec::from),
            place.dir.as_path(),
        )
    };
    shared.job_rules.apply(caller, &mut request, output_asked)?;
    Ok((request, place.lease))
}

/// A user of this host brings a whole environment; whoever comes from elsewhere brings what is to be different from a
/// plain one here. `PWD` is the job's own directory, unless somebody asks for another: many makefiles believe it.
fn environment(
    caller: &Principal,
    user: Option<&Account>,
    asked: Vec<wire::EnvVar>,
    dir: &Path,
) -> Vec<(ByteString, ByteString)> {
    let mut env: Vec<(ByteString, ByteString)> = match caller.via {
        Via::Certificate => run_as::environment(user),
        Via::LocalSocket { .. } | Via::InProcess => Vec::new(),
    };
    // Without a slash at the end, as a shell would have it.
    let pwd: PathBuf = dir.components().collect();
    let pwd = pwd.into_os_string().into_vec();
    env.push((b"PWD".to_vec().into(), pwd.into()));
    let asked: Vec<(ByteString, ByteString)> = asked
        .into_iter()
        .map(|var| (Vec::from(var.name).into(), Vec::from(var.value).into()))
        .collect();
    env.retain(|(name, _)| !asked.iter().any(|(other, _)| other == name));
    env.extend(asked);
    env
}

/// A place that was looked up.
struct Located {
    dir: PathBuf,
    /// The mirror that this is in.
    tree: Option<PathBuf>,
    workspace: Option<WorkspaceId>,
    root: Option<Digest>,
    lease_path: Option<PathBuf>,
    lease: Option<SharedLease>,
}

async fn place(
    shared: &Shared,
    caller: &Principal,
    user: Option<&Arc<Account>>,
    place: wire::Place,
) -> Result<Located, Problem> {
    let dir = Path::new(OsStr::from_bytes(&place.dir));
    let Some(reference) = place.workspace else {
        return Ok(Located {
            dir: on_host(dir, user.map(AsRef::as_ref))?,
            tree: None,
            workspace: None,
            root: None,
            lease_path: None,
            lease: None,
        });
    };
    let id = shared.workspaces.id(caller, &reference)?;
    // A commit notes whose it is each time. Starts are many, and their mirrors are there.
    let mirror = if shared.workspaces.is_there(&id) {
        shared.workspaces.open(&id, user.cloned()).await?
    } else {
        own::open(shared, caller, user.cloned(), &id, &reference, Entry::Use).await?
    };
    let root = match &place.require_root {
        Some(bytes) => Some(Digest::from_slice(bytes).ok_or_else(|| Problem::malformed("root"))?),
        None => None,
    };
    let wait = place
        .root_wait_ms
        .map_or(ROOT_WAIT, Duration::from_millis)
        .min(ROOT_WAIT);
    let lease = match root {
        Some(root) => Some(shared.workspaces.share(&id, &mirror, root, wait).await?),
        None => None,
    };
    Ok(Located {
        dir: in_tree(&mirror.files.tree(), dir)?,
        tree: Some(mirror.files.tree()),
        lease_path: Some(mirror.files.lease_path()),
        workspace: Some(id),
        root,
        lease,
    })
}

/// A working directory in a mirror: a relative one stays inside.
fn in_tree(tree: &Path, dir: &Path) -> Result<PathBuf, Problem> {
    let inside = dir.is_absolute()
        || dir
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if inside {
        return Ok(tree.join(dir));
    }
    let message = format!("the directory {} leads out of the mirror", dir.display());
    Err(Problem::new(Code::InvalidArgument, "DIR_OUTSIDE", message).with("path", dir.display()))
}

/// A working directory without a mirror.
fn on_host(dir: &Path, user: Option<&Account>) -> Result<PathBuf, Problem> {
    if dir.is_absolute() {
        return Ok(dir.to_owned());
    }
    if !dir.as_os_str().is_empty() {
        let message = format!(
            "without a mirror, the directory {} must be absolute",
            dir.display()
        );
        return Err(Problem::new(Code::InvalidArgument, "DIR_RELATIVE", message));
    }
    if let Some(user) = user {
        return Ok(user.start_dir());
    }
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    Ok(home.unwrap_or_else(|| PathBuf::from("/")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{in_tree, on_host};

    #[test]
    fn a_relative_directory_stays_in_the_mirror() {
        let tree = Path::new("/w/tree");
        assert_eq!(in_tree(tree, Path::new("")).unwrap(), Path::new("/w/tree"));
        assert_eq!(
            in_tree(tree, Path::new("a/b")).unwrap(),
            Path::new("/w/tree/a/b")
        );
        assert_eq!(in_tree(tree, Path::new("/abs")).unwrap(), Path::new("/abs"));
        assert_eq!(
            in_tree(tree, Path::new("a/../../x")).unwrap_err().reason,
            "DIR_OUTSIDE"
        );
    }

    #[test]
    fn without_a_mirror_only_an_absolute_one_makes_sense() {
        assert_eq!(on_host(Path::new("/srv"), None).unwrap(), Path::new("/srv"));
        assert!(on_host(Path::new(""), None).unwrap().is_absolute());
        assert_eq!(
            on_host(Path::new("x"), None).unwrap_err().reason,
            "DIR_RELATIVE"
        );
    }
}
