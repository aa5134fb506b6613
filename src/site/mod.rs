//! The published site of a history: static pages, which need neither the network nor scripts.
//!
//! Everything in a history is untrusted. The template engine escapes every string except the plots, which escape their
//! texts themselves; a content security policy backs both. The same history gives the same bytes.

mod badge;
mod context;
mod error;
mod feed;
mod gather;
mod gather_events;
mod model;
mod names;
mod pages;
mod plot;
mod read;
mod repository;
mod trend;
mod write;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

pub use error::SiteError;
pub use gather::Gatherer;
pub use model::{Model, Skipped};
pub use read::{ReadError, read};
pub use repository::{Repository, RepositoryError};
pub use write::Written;

use context::Context;
use pages::Renderer;
use write::Staging;

/// The style of all pages: that of a report's page, and what the site adds.
const STYLE: &str = concat!(
    include_str!("../report/templates/theme.css"),
    include_str!("../report/templates/page.css"),
    include_str!("templates/site.css")
);

/// Options of a site.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Title of the site.
    pub title: String,
    /// Links to the repository.
    pub repository: Option<Repository>,
    /// Where the site is published, for feeds.
    pub address: Option<String>,
    /// Links to reports, from the front page, by the stem of their run.
    pub reports: BTreeMap<String, String>,
}

/// Renders the site of a model into a folder. Only files whose contents changed are written, after all are rendered.
///
/// # Errors
/// When a page cannot be rendered, or a file cannot be written. The old site is untouched then.
pub fn build(model: &Model, options: &Options, folder: &Path) -> Result<Written, SiteError> {
    let context = Context::new(model, &options.title, options.repository.as_ref(), &options.reports);
    let staging = Staging::new(folder)?;
    staging.add(Path::new("site.css"), STYLE.as_bytes())?;
    staging.add(Path::new("events.json"), &model.events_json)?;
    for (path, text) in feed::feeds(&context, options.address.as_deref())? {
        staging.add(Path::new(&path), text.as_bytes())?;
    }
    for (path, text) in badge::badges(&context)? {
        staging.add(Path::new(&path), text.as_bytes())?;
    }
    let (renderer, list) = (Renderer::new(&context), pages::list(&context));
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let render = || {
        while let Some(page) = list.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some((path, text)) = renderer.render(page)? {
                staging.add(&path, text.as_bytes())?;
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(render)).collect();
        started.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(SiteError::Thread)))
    })?;
    Ok(staging.finish()?)
}

/// Most threads that render. Beyond eight, the disk is what takes time.
const MAX_THREADS: usize = 8;
