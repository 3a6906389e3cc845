//! The command line of legwork.
//!
//! Argument parsing, configuration, wiring and rendering, and nothing else: what commands do is in
//! the crates below, and reaches them through the same services that a server offers. A command is
//! one file in `commands/`: its arguments, whose documentation is the help text, and its handler,
//! which calls the client and hands the answer to `render/`.
//!
//! Exit codes are part of the interface; `error` lists them.

mod agent;
mod app;
mod choice;
mod cli;
mod commands;
mod compress;
mod contexts;
mod distance;
mod error;
mod explained;
mod files;
mod interrupt;
mod job_options;
mod limit_options;
mod local;
mod mirror;
mod notify;
mod output;
mod paths;
mod printer;
mod progress;
mod project;
mod records;
mod remote;
mod render;
mod renewal;
mod serve;
mod service;
mod settings;
mod signals;
mod stdin;
mod sync_settings;
mod watching;

use std::panic::resume_unwind;
use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::app::App;
use crate::cli::Cli;
use crate::error::CommandError;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(problem) => return explain(&problem),
    };
    let out = Output {
        json: cli.options.global.json,
        quiet: cli.options.global.quiet,
    };
    // A server has a thread for each processor.
    let mut builder = match cli.command {
        cli::Command::Serve(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    // One thread for both ends of a session: a short command pays for no other, nor for waking it. What may block
    // (disk, pipes, hashing) has threads of its own.
    let runtime = builder.enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let app = App::new(out, cli.options.state, cli.options.global.server);
            // A task like the others: the future that a runtime blocks on has to ask the kernel for news before each of its turns.
            let command = runtime.spawn(commands::dispatch(app, cli.command));
            let ended = runtime.block_on(command);
            let result = ended.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()));
            // A thread that waits for input on a terminal must not keep us.
            runtime.shutdown_background();
            result
        }
        Err(cause) => Err(CommandError::from(cause)),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if failure.exit != error::NO_READER {
                out.error(&failure);
            }
            ExitCode::from(failure.exit)
        }
    }
}

/// Help and version go to standard output; a usage error is told like any other error.
fn explain(problem: &clap::Error) -> ExitCode {
    let asked = matches!(
        problem.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    let json = std::env::args_os()
        .take_while(|arg| arg != "--")
        .any(|arg| arg == "--json");
    if asked || !json {
        // Nobody is left to be told if the terminal is gone.
        drop(problem.print());
    } else {
        let text = problem.to_string();
        let message = text
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        Output { json, quiet: false }
            .error(&CommandError::usage(message).hint("`legwork --help` shows the usage"));
    }
    ExitCode::from(if asked { 0 } else { error::USAGE })
}
