//! The format of the metrics page, negotiated by the scraper's `Accept` header.

use http::HeaderMap;
use http::header::ACCEPT;

/// A format of the metrics page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4, which etcd uses and every scraper reads.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// Chooses a format by the `Accept` headers: OpenMetrics if it is named with at least the
    /// weight of text, else text. No header is answered with 406.
    pub fn accepted_by(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges: Vec<_> = values.flat_map(|value| value.split(',')).map(Range::parse).collect();
        let best = |name| {
            let named = ranges.iter().filter(|range| range.name.eq_ignore_ascii_case(name));
            named.filter(|range| range.is_known_version()).map(|range| range.quality).max()
        };
        match (best("application/openmetrics-text"), best("text/plain")) {
            (Some(open), text) if open > 0 && Some(open) >= text => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    /// Returns the value of the `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// One media range of an `Accept` header.
struct Range<'a> {
    name: &'a str,
    version: Option<&'a str>,
    /// The weight in thousandths; 0 means not acceptable.
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let mut range = Self { name: parts.next().unwrap_or(""), version: None, quality: 1000 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "version" => range.version = Some(value.trim().trim_matches('"')),
                "q" => range.quality = quality(value.trim()),
                _ => {}
            }
        }
        range
    }

    fn is_known_version(&self) -> bool {
        matches!(self.version, None | Some("1.0.0" | "0.0.1" | "0.0.4"))
    }
}

/// Parses a weight from 0 to 1 into thousandths; 0 if it cannot be parsed.
fn quality(text: &str) -> u16 {
    match text.parse::<f32>() {
        Ok(weight) => (weight.clamp(0.0, 1.0) * 1000.0) as u16,
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &[&'static str]) -> Format {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, http::HeaderValue::from_static(value));
        }
        Format::accepted_by(&headers)
    }

    #[test]
    fn prometheus_gets_openmetrics() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(chosen(&[prometheus]), Format::OpenMetrics);
    }

    #[test]
    fn curl_and_browsers_and_the_silent_get_text() {
        assert_eq!(chosen(&[]), Format::Text);
        assert_eq!(chosen(&["*/*"]), Format::Text);
        assert_eq!(chosen(&["text/html,application/xhtml+xml,*/*;q=0.8"]), Format::Text);
    }

    #[test]
    fn the_liked_better_wins() {
        assert_eq!(chosen(&["application/openmetrics-text;q=0.1, text/plain"]), Format::Text);
        assert_eq!(
            chosen(&["text/plain;q=0.1", "application/openmetrics-text"]),
            Format::OpenMetrics
        );
    }

    #[test]
    fn what_is_not_wanted_or_unknown_is_not_sent() {
        for accept in [
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=nan",
            "application/openmetrics-text;q=much",
        ] {
            assert_eq!(chosen(&[accept]), Format::Text, "{accept}");
        }
    }
}
