//! The client URLs of the proxy, for member lists that name it.

/// The client URLs that lists name in place of the members'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// As the setting has them.
    pub(super) urls: Vec<String>,
    /// The same as a JSON array.
    pub(super) json: String,
}

impl Advertised {
    /// Lists will name these URLs.
    pub fn new(urls: &[String]) -> Self {
        let json = serde_json::Value::from(urls).to_string();
        Self { urls: urls.to_vec(), json }
    }
}
