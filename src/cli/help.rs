//! What `--help` says beside the options: examples and exit codes. And the same for shells and `man`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, report};

/// What is said of one command.
struct Words {
    /// The command, such as `ped validate`.
    command: &'static str,
    /// Each without the name of the program.
    examples: &'static [&'static str],
    /// What its exit codes mean where that is more than [`CODES`].
    codes: &'static str,
}

/// Of every command.
const CODES: &str = "Exit codes: 0 fine, 1 failed, 2 wrong usage or configuration";

const fn words(command: &'static str, examples: &'static [&'static str]) -> Words {
    Words { command, examples, codes: "" }
}

const WORDS: &[Words] = &[
    Words {
        command: "replay",
        examples: &[
            "replay --ped peds/ audit.ndjson.gz",
            "replay --ped 2026-09-01=peds/ --store sqlite:facts.db --fail-on critical audit/",
        ],
        codes: "1 also where nothing could be read or judged; 3 an alert, or something in quarantine, that --fail-on names",
    },
    Words {
        command: "backfill",
        examples: &["backfill --project acme-prod --from yesterday --to now --store sqlite:facts.db"],
        codes: "3 an alert, or something in quarantine, that --fail-on names",
    },
    words("filter", &["filter --cluster prod-1 --from -1d"]),
    words("explain", &["explain --ped peds/ --insert-id 1v2x3y4z audit.ndjson.gz"]),
    words(
        "alerts",
        &["alerts payments --since -7d --severity critical", "alerts --all --since 2026-09-01 --format csv"],
    ),
    words("changes", &["changes payments/orders-api --from -7d", "changes --from today --actor '*@example.com'"]),
    words("status", &["status --over", "status payments --at 2026-09-11T08:00Z"]),
    words("backtest", &["backtest --from 2026-09-01 --to 2026-10-01 --platform-max 10"]),
    words("bill", &["bill --month 2026-09 --format csv", "bill --month last --close"]),
    words("bill explain", &["bill explain payments/orders-api --month 2026-09"]),
    words(
        "report",
        &[
            "report --month 2026-09 -o month.html",
            "report --month 2026-09 --owner team-payments --language zh",
            "report --from 2026-09-05 --to 2026-09-12 -o gs://acme-reports/",
        ],
    ),
    words("daily", &["daily", "daily --from 2026-09-01 --to 2026-09-08"]),
    Words {
        command: "snapshot",
        examples: &["snapshot --cluster prod_1", "snapshot --from-file running.json --cluster prod_1"],
        codes: "1 also where one of several clusters could not be listed",
    },
    words("watch", &["watch --cluster prod_1"]),
    Words {
        command: "canary",
        examples: &["canary --wait 120"],
        codes: "1 also where an entry did not come back in time",
    },
    words("serve", &["serve --store bigquery:acme-prod.pedwatch"]),
    words("pull", &["pull --subscription projects/acme-prod/subscriptions/pedwatch-audit --store sqlite:facts.db"]),
    words("notify", &["notify", "notify --once"]),
    words("notify test", &["notify test --receiver slack_platform"]),
    words("notify list", &["notify list --failed"]),
    words("notify retry", &["notify retry 4f1c2a9be0d34c55"]),
    words("notify explain", &["notify explain 4f1c2a9be0d34c55"]),
    words("incident list", &["incident list"]),
    words("incident show", &["incident show 4f1c2a9be0d34c55"]),
    words("incident ack", &["incident ack 4f1c2a9be0d34c55 --by ada@example.com"]),
    words("incident assign", &["incident assign 4f1c2a9be0d34c55 --to ada@example.com"]),
    words(
        "silence add",
        &["silence add namespace=payments --until 2026-12-01 --by ada@example.com --reason \"sales week\""],
    ),
    words("silence list", &["silence list"]),
    words("silence end", &["silence end 4f1c2a9be0d34c55 --by ada@example.com"]),
    words("silence test", &["silence test namespace=payments"]),
    words("quarantine list", &["quarantine list --since -1d"]),
    words("quarantine show", &["quarantine show 4f1c2a9be0d34c55"]),
    words("quarantine replay", &["quarantine replay 4f1c2a9be0d34c55"]),
    Words {
        command: "cluster check",
        examples: &["cluster check --cluster prod_1"],
        codes: "1 also where something is missing",
    },
    Words {
        command: "ped validate",
        examples: &["ped validate peds/", "ped validate --format github peds/"],
        codes: "1 also where a PED has a fault",
    },
    words("ped diff", &["ped diff old/peds/ peds/ --store bigquery:acme-prod.pedwatch"]),
    words("ped init", &["ped init --into peds/ --from-file running.json --owner-label team"]),
    words(
        "ped register",
        &["ped register peds/ --updated-by ada@example.com --reason \"sales week\" --source 1a2b3c4"],
    ),
    words("ped remove", &["ped remove payments/orders-api --updated-by ada@example.com --reason retired"]),
    words("ped list", &["ped list --store sqlite:facts.db"]),
    words("ped history", &["ped history payments/orders-api --format json --environment"]),
    words("ped policy", &["ped policy --format vap --cluster prod-1 --store sqlite:facts.db"]),
    words("ped schema", &["ped schema"]),
    words("schema print", &["schema print --format json"]),
    words("schema apply", &["schema apply --store bigquery:acme-prod.pedwatch"]),
    Words {
        command: "schema check",
        examples: &["schema check --store bigquery:acme-prod.pedwatch"],
        codes: "1 also where the dataset is another",
    },
    words("config check", &["config check --config pedwatch.toml"]),
    words("config example", &["config example"]),
    words("config schema", &["config schema"]),
    words("completions", &["completions bash"]),
    words("man", &["man /usr/local/share/man/man1"]),
];

/// The command line, with what [`WORDS`] say.
pub(super) fn command() -> Command {
    explained(Cli::command(), "")
}

fn explained(command: Command, path: &str) -> Command {
    let below: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let command = match WORDS.iter().find(|words| words.command == path) {
        Some(words) => command.after_long_help(words.to_string()),
        None => command,
    };
    below.into_iter().fold(command, |command, name| {
        let path = format!("{path} {name}");
        command.mut_subcommand(name, |below| explained(below, path.trim_start()))
    })
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "Examples:")?;
        for example in self.examples {
            writeln!(f, "  pedwatch {example}")?;
        }
        write!(f, "\n{CODES}")?;
        if !self.codes.is_empty() {
            write!(f, "; {}", self.codes)?;
        }
        Ok(())
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "pedwatch", &mut script);
    report::text(&String::from_utf8(script).context("a shell's script")?)?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// The folder to write them into; it is made where it is not there
    #[arg(value_name = "FOLDER")]
    into: PathBuf,
}

pub(super) fn man(args: &ManArgs) -> Result<ExitCode> {
    let failed = || format!("failed to write into {}", args.into.display());
    std::fs::create_dir_all(&args.into).with_context(failed)?;
    let mut command = command().disable_help_subcommand(true);
    command.build();
    let pages = pages(&command, &args.into).with_context(failed)?;
    report::text(&format!("{pages} pages written into {}\n", args.into.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The page of a command, and of those below it; how many they are.
fn pages(command: &Command, into: &Path) -> io::Result<usize> {
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    std::fs::write(into.join(page.get_filename()), text)?;
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    below.map(|below| pages(below, into)).sum::<io::Result<usize>>().map(|below| below + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands that do something, by their paths.
    fn leaves(command: &Command, path: &str) -> Vec<String> {
        let below: Vec<&Command> = command.get_subcommands().filter(|below| below.get_name() != "help").collect();
        let mut found: Vec<String> =
            below.iter().flat_map(|below| leaves(below, format!("{path} {}", below.get_name()).trim_start())).collect();
        if below.is_empty() || !command.is_subcommand_required_set() && !path.is_empty() {
            found.push(path.to_owned());
        }
        found
    }

    #[test]
    fn each_command_has_examples_that_can_be_read() {
        let leaves = leaves(&command(), "");
        assert!(leaves.len() > 40, "{leaves:?}");
        for path in &leaves {
            assert!(WORDS.iter().any(|words| words.command == path), "nothing is said of {path}");
        }
        for words in WORDS {
            assert!(leaves.iter().any(|path| path == words.command), "there is no {}", words.command);
            assert!(!words.examples.is_empty(), "{}", words.command);
            for example in words.examples {
                assert!(example.starts_with(words.command), "{example}");
                // As a shell reads them; no word of theirs has a quote within.
                let words = example.split(['"', '\'']).enumerate().flat_map(|(at, part)| match at % 2 {
                    0 => part.split_whitespace().collect::<Vec<_>>(),
                    _ => vec![part],
                });
                let read = command().try_get_matches_from(["pedwatch"].into_iter().chain(words));
                assert!(read.is_ok(), "{example}: {:?}", read.err().map(|error| error.to_string()));
            }
        }
    }
}
