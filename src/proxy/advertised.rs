//! The client URLs of the proxy, for member lists that name it.

/// The client URLs that lists name in place of the members'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// The URLs as configured.
    pub(super) urls: Vec<String>,
    /// The same URLs as a JSON array.
    pub(super) json: String,
}

impl Advertised {
    /// Renders `urls` for the lists, once for every answer.
    pub fn new(urls: &[String]) -> Self {
        let json = serde_json::Value::from(urls).to_string();
        Self { urls: urls.to_vec(), json }
    }
}
