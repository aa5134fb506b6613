//! `pvbench site`: the published site of a history.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Done;
use super::error::{self, CliError};
use super::exit::Exit;
use super::open;
use super::output::stdout;
use crate::history::commits::CommitOrder;
use crate::report::subject::reason;
use crate::site::{Model, Options, ReadError, Repository, SiteError, Skipped, build, read};

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench site reports/history --out public
  pvbench site reports/history --out public --repository https://github.com/owner/name
  pvbench site ci/history laptop/history --out public     several histories as one
  pvbench site reports/history --out public --reports public/reports    link public/reports/RUN/index.html
  pvbench site reports/history --out public --open

The site is static: it needs neither a server nor scripts, and loads nothing from elsewhere. Pages are named by what
they show, so that links to them stay. Only files whose contents changed are written; other files in the folder stay.";

/// Maximum number of warnings about files that are left out.
const MAX_WARNINGS: usize = 20;
/// Maximum number of reports that are linked.
const MAX_REPORTS: usize = 100_000;

/// Options of `site`.
#[derive(Args)]
pub struct SiteArgs {
    /// Folders of histories
    #[arg(value_name = "HISTORY", required = true)]
    histories: Vec<PathBuf>,
    /// Folder of the site
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Title of the site
    #[arg(long, value_name = "TEXT", default_value = "pvbench")]
    title: String,
    /// Web address of the repository, for links to commits and their differences
    #[arg(long, value_name = "URL")]
    repository: Option<String>,
    /// Web address of the site: feed readers need it
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Folder within --out that has the page of a run as RUN/index.html or RUN.html, with the name of its file as RUN
    #[arg(long, value_name = "DIR")]
    reports: Option<PathBuf>,
    /// Open the site in $BROWSER, or with xdg-open
    #[arg(long)]
    open: bool,
}

/// Builds the site of histories.
pub fn site(args: &SiteArgs) -> Done {
    let repository = args.repository.as_deref().map(Repository::new).transpose();
    let repository = repository.map_err(|error| CliError::Usage(error.to_string()))?;
    let options = Options {
        title: args.title.clone(),
        repository,
        address: args.url.as_deref().map(check_address).transpose()?,
        reports: args.reports.as_deref().map(|folder| find_reports(&args.out, folder)).transpose()?.unwrap_or_default(),
    };
    let order = |headers: &[&crate::history::kept::Header]| CommitOrder::from_headers(headers.iter().copied());
    let model = read(&args.histories, order)?;
    warn_of(&model);
    let written = build(&model, &options, &args.out)?;
    let page = args.out.join("index.html");
    writeln!(
        stdout(),
        "{}: {} files, {} changed, {} removed",
        page.display(),
        written.files,
        written.changed,
        written.removed
    )?;
    if args.open {
        open::page(&page);
    }
    Ok(Exit::Fine)
}

/// An address of the site, which feeds put before their links.
fn check_address(address: &str) -> Result<String, CliError> {
    match Repository::new(address) {
        Ok(_) => Ok(address.to_owned()),
        Err(_) => Err(CliError::Usage(format!("--url {}: give a web address as https://HOST/PATH", reason(address)))),
    }
}

/// Warns of files that are left out: the first ones by name, the others by number.
fn warn_of(model: &Model) {
    for Skipped { file, reason: why } in model.skipped.iter().take(MAX_WARNINGS) {
        error::warn(&format!("{} is left out: {}", reason(file), reason(why)));
    }
    if let Some(more) = model.skipped.len().checked_sub(MAX_WARNINGS).filter(|more| *more > 0) {
        error::warn(&format!("{more} more files are left out; the front page has the first ones"));
    }
}

/// The pages of reports in a folder within the site, by the name of their run.
fn find_reports(site: &Path, folder: &Path) -> Result<BTreeMap<String, String>, CliError> {
    let outside = || {
        let message = "--reports must be a folder within --out: a published page cannot link what is not published";
        CliError::Usage(format!("{message}; copy {} there", reason(&folder.display().to_string())))
    };
    let whole = |path: &Path| path.canonicalize().ok();
    let inside =
        whole(folder).zip(whole(site)).and_then(|(folder, site)| folder.strip_prefix(&site).map(Path::to_owned).ok());
    let inside = inside.ok_or_else(outside)?;
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder)?.filter_map(Result::ok).take(MAX_REPORTS) {
        let (name, path) = (entry.file_name(), entry.path());
        let Some(name) = name.to_str().filter(|name| is_plain(name)) else { continue };
        let page = if path.join("index.html").is_file() { format!("{name}/index.html") } else { name.to_owned() };
        if page.ends_with(".html") {
            let stem = name.strip_suffix(".html").unwrap_or(name);
            found.insert(stem.to_owned(), inside.join(&page).display().to_string());
        }
    }
    Ok(found)
}

/// Whether a name needs no escapes in a link.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c)) && !name.starts_with('.')
}

impl From<ReadError> for CliError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => error.into(),
            ReadError::Accepted(error) => CliError::History(error.into()),
            ReadError::Json(error) => error.into(),
        }
    }
}

impl From<SiteError> for CliError {
    fn from(error: SiteError) -> Self {
        match error {
            SiteError::Write(error) => error.into(),
            other => CliError::Site(other),
        }
    }
}
