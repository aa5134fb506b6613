//! Links to the repository that the runs measure.

/// The link pattern of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    commit: String,
    compare: String,
}

/// The address of a repository cannot be linked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the repository '{0}' is no web address; give one as https://HOST/OWNER/NAME")]
pub struct RepositoryError(String);

impl Repository {
    /// The patterns for the address of a repository, as GitHub and Forgejo have them; GitLab puts `/-` before them.
    ///
    /// # Errors
    /// If the address does not begin with `https://` or `http://`, or holds characters that an address has not.
    pub fn new(address: &str) -> Result<Self, RepositoryError> {
        let base = address.trim_end_matches('/').trim_end_matches(".git");
        let host = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://")).unwrap_or_default();
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~/:@%+".contains(&c);
        if host.is_empty() || host.starts_with('/') || !host.bytes().all(is_plain) {
            return Err(RepositoryError(address.chars().take(200).collect()));
        }
        let host = host.split('/').next().unwrap_or_default();
        let inner = if host.contains("gitlab") { "/-" } else { "" };
        Ok(Repository { commit: format!("{base}{inner}/commit/"), compare: format!("{base}{inner}/compare/") })
    }

    /// The address of a commit. An id that is not hexadecimal has none.
    #[must_use]
    pub fn commit(&self, id: &str) -> Option<String> {
        is_id(id).then(|| format!("{}{id}", self.commit))
    }

    /// The address of the difference of two commits.
    #[must_use]
    pub fn compare(&self, good: &str, bad: &str) -> Option<String> {
        (is_id(good) && is_id(bad)).then(|| format!("{}{good}...{bad}", self.compare))
    }

    /// What all addresses of differences begin with, for the script.
    #[must_use]
    pub fn compare_prefix(&self) -> &str {
        &self.compare
    }
}

fn is_id(id: &str) -> bool {
    (7..=64).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_commits_and_ranges_follow_the_host() {
        let github = Repository::new("https://github.com/o/r.git").unwrap();
        assert_eq!(github.commit("0123456789ab").as_deref(), Some("https://github.com/o/r/commit/0123456789ab"));
        assert_eq!(github.compare("0123456", "89abcde").unwrap(), "https://github.com/o/r/compare/0123456...89abcde");
        let gitlab = Repository::new("https://gitlab.com/o/r/").unwrap();
        assert_eq!(gitlab.commit("0123456789ab").unwrap(), "https://gitlab.com/o/r/-/commit/0123456789ab");
        assert_eq!(github.commit("\"><script>"), None);
    }

    #[test]
    fn an_address_that_is_no_web_address_is_refused() {
        for address in ["javascript:alert(1)", "git@host:o/r", "https://", "https://a/\" onclick=", "ftp://a/b"] {
            assert!(Repository::new(address).is_err(), "{address}");
        }
    }
}
