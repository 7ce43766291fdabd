//! The browser's files, built into the binary.

use axum::{
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

mod files {
    // `static FILES: &[(&str, &[u8])]`, sorted by path; written by build.rs.
    include!(concat!(env!("OUT_DIR"), "/web.rs"));
}

/// A file of `web/dist` by its path, or for a page of the application its one HTML file.
pub async fn serve(request: Request) -> Response {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let path = request.uri().path().trim_start_matches('/');
    if let Some(bytes) = find(path).filter(|_| path != "index.html") {
        // The build puts a hash of the content into the names of assets.
        let cache = match path.starts_with("assets/") {
            true => "public, max-age=31536000, immutable",
            false => "no-cache",
        };
        return file(bytes, content_type(path), cache);
    }
    match (is_page(path), find("index.html")) {
        (true, Some(bytes)) => file(bytes, "text/html; charset=utf-8", "no-cache"),
        (true, None) => {
            let mut response = file(NOT_BUILT.as_bytes(), "text/html", "no-cache");
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
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

fn find(path: &str) -> Option<&'static [u8]> {
    let at = files::FILES.binary_search_by(|(name, _)| (*name).cmp(path)).ok()?;
    Some(files::FILES[at].1)
}

fn file(bytes: &'static [u8], content_type: &'static str, cache: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static(cache)),
    ];
    (headers, bytes).into_response()
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
