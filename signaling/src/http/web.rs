//! The browser's files, built into the binary, in the smallest form that the browser takes.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

mod files {
    // `static FILES: &[File]`, sorted by name; written by build.rs.
    include!(concat!(env!("OUT_DIR"), "/web.rs"));
}

/// A file of `web/dist`.
struct File {
    /// Its path.
    name: &'static str,
    /// Of its content.
    hash: &'static str,
    plain: &'static [u8],
    /// Absent where it would not be smaller.
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

/// A file of `web/dist` by its path, or for a page of the application its one HTML file.
pub async fn serve(request: Request) -> Response {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let (path, asked) = (request.uri().path().trim_start_matches('/'), request.headers());
    if let Some(found) = find(path).filter(|_| path != "index.html") {
        // The build puts a hash of the content into the names of assets.
        let cache = match path.starts_with("assets/") {
            true => "public, max-age=31536000, immutable",
            false => "no-cache",
        };
        return send(found, asked, content_type(path), cache);
    }
    match (is_page(path), find("index.html")) {
        (true, Some(found)) => send(found, asked, "text/html; charset=utf-8", "no-cache"),
        (true, None) => {
            let headers = [(header::CONTENT_TYPE, "text/html"), (header::CACHE_CONTROL, "no-cache")];
            (StatusCode::SERVICE_UNAVAILABLE, headers, NOT_BUILT).into_response()
        }
        (false, _) => StatusCode::NOT_FOUND.into_response(),
    }
}

const NOT_BUILT: &str = "<!doctype html><meta charset=utf-8><title>Hewei</title>
<p>这个程序编译时没有网页。请运行 <code>make build</code>。
<p>This binary was built without its web pages. Run <code>make build</code>.\n";

fn is_page(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    matches!(
        first,
        "" | "index.html" | "join" | "enter" | "setup" | "account" | "demo" | "room" | "wall" | "case"
    )
}

fn find(path: &str) -> Option<&'static File> {
    let at = files::FILES.binary_search_by(|file| file.name.cmp(path)).ok()?;
    Some(&files::FILES[at])
}

/// The file, or that the browser has it already. Each form has an entity-tag of its own (RFC 9110 §8.8.3.3).
fn send(file: &File, asked: &HeaderMap, content_type: &'static str, cache: &'static str) -> Response {
    let (bytes, encoding) = match (file.brotli, file.gzip) {
        (Some(bytes), _) if takes(asked, "br") => (bytes, Some("br")),
        (_, Some(bytes)) if takes(asked, "gzip") => (bytes, Some("gzip")),
        _ => (file.plain, None),
    };
    let tag =
        format!("\"{}{}\"", file.hash, encoding.map_or(String::new(), |encoding| format!("-{encoding}")));
    let has_it = listed(asked, header::IF_NONE_MATCH)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag);
    let mut response = match has_it {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, content_type)], bytes).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::ETAG, HeaderValue::try_from(tag).expect("hexadecimal digits and letters"));
    if let Some(encoding) = encoding.filter(|_| !has_it) {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

/// Whether the browser takes this encoding (RFC 9110 §12.5.3). What is not named is not taken, `*` or not.
fn takes(asked: &HeaderMap, encoding: &str) -> bool {
    listed(asked, header::ACCEPT_ENCODING).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(encoding));
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        named && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

/// The items of a header that is a list.
fn listed(asked: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let lines = asked.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: File =
        File { name: "page", hash: "0123", plain: b"plain", brotli: Some(b"b"), gzip: Some(b"gz") };

    async fn sent(file: &File, asked: &[(header::HeaderName, &str)]) -> (u16, HeaderMap, Vec<u8>) {
        let asked =
            asked.iter().map(|(name, value)| (name.clone(), value.parse().expect("a header"))).collect();
        let (parts, body) = send(file, &asked, "text/html", "no-cache").into_parts();
        let body = axum::body::to_bytes(body, 64).await.expect("short");
        (parts.status.as_u16(), parts.headers, body.to_vec())
    }

    #[tokio::test]
    async fn each_gets_the_smallest_form_that_it_takes() {
        let smallest: [(Option<&str>, &str); 9] = [
            (None, ""),
            (Some(""), ""),
            (Some("identity"), ""),
            (Some("gzip, deflate, br, zstd"), "br"),
            (Some("gzip;q=1.0, BR;q=0.1"), "br"),
            (Some("gzip, deflate"), "gzip"),
            (Some("br;q=0, gzip"), "gzip"),
            (Some("gzip;q=0.000"), ""),
            (Some("brotli, xgzip, *"), ""),
        ];
        for (takes, encoding) in smallest {
            let asked: Vec<_> = takes.map(|takes| (header::ACCEPT_ENCODING, takes)).into_iter().collect();
            let (status, headers, body) = sent(&PAGE, &asked).await;
            let wanted: &[u8] = match encoding {
                "br" => b"b",
                "gzip" => b"gz",
                _ => b"plain",
            };
            assert_eq!((status, body.as_slice()), (200, wanted), "{takes:?}");
            let named =
                headers.get(header::CONTENT_ENCODING).map_or("", |value| value.to_str().expect("text"));
            assert_eq!(named, encoding, "{takes:?}");
            assert_eq!(headers[header::VARY], "accept-encoding");
            assert_eq!(headers[header::CONTENT_TYPE], "text/html");
        }
        // What is in no smaller form goes as it is.
        let icon = File { brotli: None, gzip: None, ..PAGE };
        let (_, headers, body) = sent(&icon, &[(header::ACCEPT_ENCODING, "br, gzip")]).await;
        assert_eq!((headers.get(header::CONTENT_ENCODING), body.as_slice()), (None, &b"plain"[..]));
    }

    #[tokio::test]
    async fn what_the_browser_has_is_not_sent_again() {
        let encoding = (header::ACCEPT_ENCODING, "br");
        let (_, headers, _) = sent(&PAGE, std::slice::from_ref(&encoding)).await;
        let tag = headers[header::ETAG].to_str().expect("text").to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let (status, headers, body) =
                sent(&PAGE, &[encoding.clone(), (header::IF_NONE_MATCH, &known)]).await;
            assert_eq!((status, body.as_slice()), (304, &b""[..]), "{known}");
            assert_eq!(headers[header::ETAG], tag.as_str());
            assert_eq!(headers.get(header::CONTENT_ENCODING), None);
        }
        // Another form of the same file is not the one it has, and nor is another file.
        for known in ["\"0123\"", "\"0123-gzip\"", "\"4567-br\""] {
            let (status, ..) = sent(&PAGE, &[encoding.clone(), (header::IF_NONE_MATCH, known)]).await;
            assert_eq!(status, 200, "{known}");
        }
    }
}
