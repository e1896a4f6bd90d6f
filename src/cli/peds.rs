//! PED files as they are named on the command line: read, all faults at once.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};

use super::{Usage, parse_effect};
use crate::config::Config;
use crate::ped::version::Registration;
use crate::ped::{Fault, Located, Place, parse_all};
use crate::shown::Shown;
use crate::source::files;

/// `[TIME=]PATH`: PED files, and from when they apply.
#[derive(Debug, Clone)]
pub(super) struct PedPath {
    pub(super) from: DateTime<Utc>,
    pub(super) path: PathBuf,
}

impl FromStr for PedPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((time, path)) if !Path::new(text).exists() => {
                Ok(PedPath { from: parse_effect(time)?, path: path.into() })
            }
            _ => Ok(PedPath { from: DateTime::UNIX_EPOCH, path: text.into() }),
        }
    }
}

/// Most that is read of PED files at once: 100,000 PEDs of 600 bytes, and not a file that has no end.
const PEDS_MAX_BYTES: u64 = 64 << 20;

/// The PEDs in files, folders (their `.yaml` and `.yml` files) and standard input, or all faults: what cannot be read is
/// one among others. There is one PED at least.
pub(super) fn read_peds(paths: &[PathBuf], config: &Config) -> Result<Result<Vec<Located>, Vec<Fault>>> {
    let mut files = Vec::new();
    let mut faults = Vec::new();
    for path in paths {
        match files::expand_to(std::slice::from_ref(path), is_yaml) {
            Ok(found) => files.extend(found),
            Err(error) => faults.push(unreadable(path, Place::BEGIN, &format!("{error:#}"))),
        }
    }
    let mut room_bytes = PEDS_MAX_BYTES;
    let mut texts = Vec::new();
    for file in &files {
        match read_ped(file, room_bytes) {
            Ok(text) => {
                room_bytes = room_bytes.saturating_sub(text.len() as u64);
                texts.push((file.as_path(), text));
            }
            Err(fault) => faults.push(fault),
        }
    }
    let located = parse_all(texts.iter().map(|(file, text)| (*file, text.as_str())), &config.policy.platform);
    Ok(match located {
        Ok(located) if faults.is_empty() && located.is_empty() => {
            let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            bail!("there is no PED in {}; expected .yaml or .yml files", names.join(", "));
        }
        Ok(located) if faults.is_empty() => Ok(located),
        Ok(_) => Err(faults),
        Err(others) => Err(faults.into_iter().chain(others).collect()),
    })
}

fn unreadable(file: &Path, place: Place, why: &str) -> Fault {
    let message = format!("cannot be read: {why}; expected a PED as YAML in UTF-8");
    Fault { file: file.to_owned(), place, key: String::new(), message }
}

pub(super) fn is_yaml(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("yaml") || extension.eq_ignore_ascii_case("yml"))
}

fn read_ped(file: &Path, at_most_bytes: u64) -> Result<String, Fault> {
    let open = || -> std::io::Result<Box<dyn Read>> {
        Ok(if files::is_stdin(file) { Box::new(std::io::stdin()) } else { Box::new(std::fs::File::open(file)?) })
    };
    let mut text = Vec::new();
    // One byte more tells what is too long, whether it has an end or not.
    let read = open().and_then(|input| input.take(at_most_bytes + 1).read_to_end(&mut text));
    read.map_err(|error| unreadable(file, Place::BEGIN, &error.to_string()))?;
    if text.len() as u64 > at_most_bytes {
        let message = format!("makes more than {PEDS_MAX_BYTES} bytes of PEDs; expected fewer at once");
        return Err(Fault { file: file.to_owned(), place: Place::BEGIN, key: String::new(), message });
    }
    String::from_utf8(text).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        unreadable(file, Place::behind(&String::from_utf8_lossy(good)), "it is no UTF-8 here")
    })
}

/// Refuses standard input that is named twice: whoever reads second would find nothing.
pub(super) fn stdin_once<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Result<()> {
    if paths.into_iter().filter(|path| files::is_stdin(path)).count() > 1 {
        return Err(Usage("standard input (-) is named twice; expected once".to_owned()).into());
    }
    Ok(())
}

/// What `--ped` names, in order of time. It is named again at every run, so only what is new is registered.
pub(super) fn peds_to_register(peds: &[PedPath], config: &Config, now: DateTime<Utc>) -> Result<Vec<Registration>> {
    let mut peds = peds.to_vec();
    peds.sort_by_key(|ped| ped.from);
    let mut registrations = Vec::new();
    for PedPath { from, path } in peds {
        let located = read_peds(&[path], config)?.map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(|fault| Shown(fault).to_string()).collect();
            anyhow::anyhow!("--ped is refused:\n{}", lines.join("\n"))
        })?;
        registrations.extend(located.into_iter().map(|Located { ped, file, .. }| Registration {
            ped,
            effective_at: from,
            explicit: false,
            now,
            updated_by: "replay".to_owned(),
            reason: None,
            source: Some(file.display().to_string()),
        }));
    }
    Ok(registrations)
}
