//! The pages, a file each. Everything on them comes from a [`Context`]; names are escaped by the template engine.

mod commit;
mod detail;
mod event;
mod front;
mod machine;
mod mechanism;
mod run;
mod series;
mod subject;
mod trends;

use std::path::PathBuf;

use super::context::Context;
use super::error::SiteError;
use super::names::Folder;
use crate::report::html::script_hash;

/// The script of all pages.
const SCRIPT: &str = concat!(include_str!("../../report/templates/unfold.js"), include_str!("../templates/site.js"));

/// What all pages have.
pub struct Frame<'a> {
    script: &'static str,
    script_source: String,
    title: &'a str,
    tool: String,
}

/// A page to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// The front page.
    Front,
    /// All events.
    Events,
    /// An op or a workload, by its name.
    Subject(Folder, String),
    /// A mechanism with its state, by its name.
    Mechanism(String),
    /// A commit.
    Commit(usize),
    /// A machine.
    Machine(usize),
    /// An event.
    Event(usize),
    /// A run.
    Run(usize),
}

/// The pages of a site.
#[must_use]
pub fn list(context: &Context) -> Vec<Page> {
    let model = context.model;
    let mut pages = vec![Page::Front, Page::Events];
    let (ops, workloads, mechanisms) = front::names(context);
    // Slow pages first, so that two cores end together.
    pages.extend(ops.into_iter().map(|name| Page::Subject(Folder::Op, name)));
    pages.extend(workloads.into_iter().map(|name| Page::Subject(Folder::Workload, name)));
    pages.extend(mechanisms.into_iter().map(Page::Mechanism));
    pages.extend((0..model.machines.len()).map(Page::Machine));
    pages.extend((0..model.events.len()).map(Page::Event));
    pages.extend((0..model.commits.len()).map(Page::Commit));
    pages.extend((0..model.runs.len()).map(Page::Run));
    pages
}

/// Renders pages.
pub struct Renderer<'a> {
    context: &'a Context<'a>,
    frame: Frame<'a>,
}

impl<'a> Renderer<'a> {
    /// A renderer for the pages of a context.
    #[must_use]
    pub fn new(context: &'a Context<'a>) -> Self {
        let frame = Frame {
            script: SCRIPT,
            script_source: script_hash::source(SCRIPT),
            title: context.title,
            tool: format!("pvbench {}", env!("CARGO_PKG_VERSION")),
        };
        Renderer { context, frame }
    }

    /// The path of a page within the site, and its text; `None` for an index that the model does not have.
    ///
    /// # Errors
    /// When a plot or a template fails. No content of a history causes that.
    pub fn render(&self, page: &Page) -> Result<Option<(PathBuf, String)>, SiteError> {
        let (context, frame) = (self.context, &self.frame);
        let model = context.model;
        let (path, text) = match page {
            Page::Front => ("index.html".to_owned(), Some(front::page(context, frame)?)),
            Page::Events => ("events.html".to_owned(), Some(front::events_page(context, frame)?)),
            Page::Subject(folder, name) => (folder.page(name), Some(subject::page(context, frame, *folder, name)?)),
            Page::Mechanism(name) => (Folder::Mechanism.page(name), Some(mechanism::page(context, frame, name)?)),
            Page::Commit(index) => {
                let path = model.commits.get(*index).map_or_else(String::new, |it| Folder::Commit.page(&it.id));
                (path, commit::page(context, frame, *index)?)
            }
            Page::Machine(index) => {
                let path = model.machines.get(*index).map_or_else(String::new, |it| Folder::Machine.page(&it.class));
                (path, machine::page(context, frame, *index)?)
            }
            Page::Event(index) => {
                let path = model.events.get(*index).map_or_else(String::new, |it| Folder::Event.page(&it.id));
                (path, event::page(context, frame, *index)?)
            }
            Page::Run(index) => {
                let path = model.runs.get(*index).map_or_else(String::new, |it| Folder::Run.page(&it.stem));
                (path, run::page(context, frame, *index)?)
            }
        };
        Ok(text.map(|text| (PathBuf::from(path), text)))
    }
}
